"""Whether the host lets a mount's propagation work (mount_namespaces(7), "Shared subtrees").

A container sees later mounts below a host path only if the mount that holds the path is shared or a slave of a shared
one, and hands its own mounts back only if it is shared. The kernel takes either request on a private mount and does
nothing: so this is checked beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from podyard.cri import api
from podyard.errors import FailedPrecondition

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountPoint:
    """One line of /proc/self/mountinfo, as far as propagation goes."""

    path: str
    shared: bool
    slave: bool


def parse(mountinfo: str) -> list[MountPoint]:
    """The mounts of a /proc/self/mountinfo (proc(5)), in its order: a later one hides an earlier one at its path."""
    return [_parsed(line.split(" ")) for line in mountinfo.splitlines() if line]


def holder(path: str, mounts: Iterable[MountPoint]) -> MountPoint | None:
    """The mount that holds a path without links: the one whose mount point is nearest above it."""
    best: MountPoint | None = None
    for mount in mounts:
        above = mount.path == path or path.startswith(mount.path.rstrip("/") + "/")
        if above and (best is None or len(mount.path) >= len(best.path)):
            best = mount
    return best


def check_propagation(requested: Iterable[api.Mount], mountinfo: str) -> None:
    """Refuse mounts whose propagation could not work; ``requested`` has host paths without links.

    Raises FailedPrecondition, naming the host path and its mount.
    """
    mounts = parse(mountinfo)
    for mount in requested:
        found = holder(mount.host_path, mounts)
        point = found.path if found is not None else "no mount"
        where = f"mount of {mount.host_path!r} at {mount.container_path}: it lies on {point}"
        shared = found is not None and found.shared
        if mount.propagation == api.PROPAGATION_BIDIRECTIONAL and not shared:
            raise FailedPrecondition(
                f"{where}, which is not a shared mount, as Bidirectional propagation needs: "
                f"run `mount --make-rshared {point}` on the host"
            )
        slave = found is not None and found.slave
        if mount.propagation == api.PROPAGATION_HOST_TO_CONTAINER and not (shared or slave):
            raise FailedPrecondition(
                f"{where}, which is neither a shared nor a slave mount, as HostToContainer propagation needs: "
                f"run `mount --make-rshared {point}` on the host"
            )


def _parsed(fields: list[str]) -> MountPoint:
    # After six fixed fields come optional ones up to a "-".
    optional = fields[6 : fields.index("-")]
    return MountPoint(
        path=_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]),
        shared=any(field.startswith("shared:") for field in optional),
        slave=any(field.startswith("master:") for field in optional),
    )
