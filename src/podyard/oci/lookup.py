"""What the names in a request stand for on this host and in the image: all that has to be read to make a spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.oci import cdi, cdi_edits, devices, lsm, propagation, seccomp, users
from podyard.oci.host import HostFacts

MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Found:
    """``seccomp``: the Localhost profile's document, None when another kind is asked for. ``cdi``: what the CDI devices
    change in the spec.
    """

    user: users.User
    devices: tuple[devices.Node, ...] = ()
    seccomp: dict[str, Any] | None = None
    cdi: tuple[cdi.Edits, ...] = ()


def look_up(config: api.ContainerConfig, image_user: str, rootfs: Path, host: HostFacts) -> Found:
    """Read what ``build_spec`` needs. Blocking: call it in a thread.

    ``config``: the request with the links in its host paths resolved. ``rootfs``: mounted, for passwd and group.

    Raises InvalidArgument for a user, device or profile that is not there, FailedPrecondition for a mount whose
    propagation the host does not allow, a passwd file that cannot be read, a CDI device that no file describes, and an
    AppArmor profile that is not loaded.
    """
    security = config.linux.security_context
    propagation.check_propagation(config.mounts, MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    lsm.check_loaded(security, host)
    return Found(
        user=users.resolve_user(security, image_user, rootfs),
        devices=devices.find_devices(config.devices, privileged=security.privileged),
        seccomp=seccomp.find_profile(security, host.seccomp_dir),
        cdi=cdi_edits.look_up(cdi.find(cdi.requested(config), host.cdi_dirs)),
    )
