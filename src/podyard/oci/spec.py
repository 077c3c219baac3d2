"""The OCI runtime spec of a container and of a sandbox's infra process: what a container may do, in one place.

Everything here is a pure function of the request, the image and the facts of the host; ``lookup`` reads what is needed.
Version 1.0.2 of the specification is written, since crun 1.8 takes no newer one, and nothing of a newer one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.linux.userns import IdMap
from podyard.model.image import ImageConfig
from podyard.oci import (
    capabilities,
    cdi_edits,
    devices,
    idmaps,
    limits,
    lsm,
    mounts,
    process,
    resources,
    seccomp,
    users,
)
from podyard.oci.host import HostFacts
from podyard.oci.lookup import Found

OCI_VERSION = "1.0.2"

INFRA_OOM_SCORE_ADJ = -998
"""As Kubernetes' own processes of a node: the last to be killed for want of memory (containerd and CRI-O agree)."""
INFRA_CPU_SHARES = 2
"""The least that the kernel gives."""


@dataclass(frozen=True, kw_only=True)
class SpecInputs:
    """All that a container's spec is made of."""

    config: api.ContainerConfig
    """The request; host paths of mounts exist and hold no links."""
    sandbox: api.PodSandboxConfig
    image: ImageConfig
    rootfs: Path
    found: Found
    namespaces: Mapping[str, str]
    """OCI namespace type → the path of the one to join, "" for a new one; what is not named is the host's."""
    cgroups_path: str
    files: Mapping[str, Path]
    """Container path → host file of /etc/hosts and its like, for a request that mounts none there."""
    shm: Path | None
    """The pod's /dev/shm, None with host IPC."""
    host: HostFacts
    id_map: IdMap | None = None
    """That of the pod's user namespace, which ``namespaces`` joins."""


def build_spec(inputs: SpecInputs) -> dict[str, Any]:
    """The ``config.json`` of a container.

    Raises InvalidArgument for what the request has wrong, FailedPrecondition for what this host cannot give.
    """
    config, host = inputs.config, inputs.host
    security = config.linux.security_context
    hostname = inputs.sandbox.hostname or host.hostname
    if inputs.id_map is not None:
        users.check_mapped(inputs.found.user, inputs.id_map)
    document = process.container_process(config, inputs.image, inputs.found.user, hostname, host)
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": document,
        "root": {"path": str(inputs.rootfs), "readonly": security.readonly_rootfs},
        "mounts": mounts.container_mounts(
            config.mounts,
            files=inputs.files,
            shm=inputs.shm,
            readonly_rootfs=security.readonly_rootfs,
            privileged=security.privileged,
            own=inputs.id_map,
            host_network="network" not in inputs.namespaces,
        ),
        "linux": {
            "namespaces": _namespaces(inputs.namespaces),
            **(idmaps.documents(inputs.id_map) if inputs.id_map else {}),
            "cgroupsPath": inputs.cgroups_path,
            "devices": devices.device_nodes(inputs.found.devices),
            "resources": {
                **resources.linux_resources(config.linux.resources, host),
                "devices": devices.device_rules(inputs.found.devices, privileged=security.privileged),
            },
            "maskedPaths": _hidden_paths(security.masked_paths, security, "masked_paths"),
            "readonlyPaths": _hidden_paths(security.readonly_paths, security, "readonly_paths"),
            "rootfsPropagation": mounts.rootfs_propagation(config.mounts),
            "mountLabel": lsm.mount_label(security, host),
            "seccomp": seccomp.linux_seccomp(
                security, document["capabilities"]["bounding"], inputs.found.seccomp, host
            ),
        },
    }
    spec["linux"] = {key: value for key, value in spec["linux"].items() if value}
    swap = limits.scope_swap(spec["linux"]["resources"])
    if _is_systemd(inputs.cgroups_path) and host.cgroup_v2 and swap == "0":
        # runc does not tell systemd of a limit of 0, and the next "systemctl daemon-reload" would lift it.
        spec["annotations"] = {"org.systemd.property.MemorySwapMax": "uint64 0"}
    cdi_edits.apply(spec, inputs.found.cdi)
    return spec


def infra_spec(
    config: api.PodSandboxConfig,
    *,
    namespaces: Mapping[str, str],
    cgroups_path: str,
    host: HostFacts,
    id_map: IdMap | None = None,
) -> dict[str, Any]:
    """The ``config.json`` of the process that holds a pod's shared PID namespace: ``/init -P`` waits and reaps.

    It has a root of its own with nothing but that binary, read-only, no capabilities, the default seccomp profile
    whatever the pod asks for its containers, and the user that the sandbox names. ``namespaces``: those of the pod that
    it joins.

    Raises InvalidArgument for a user that cannot be, FailedPrecondition for a label that this host cannot give.
    """
    security = config.linux.security_context
    confined = host.seccomp and not security.privileged
    linux: dict[str, Any] = {
        "namespaces": _namespaces({"pid": "", "mount": "", **namespaces}),
        **(idmaps.documents(id_map) if id_map else {}),
        "cgroupsPath": cgroups_path,
        "resources": {"cpu": {"shares": INFRA_CPU_SHARES}, "devices": devices.device_rules((), privileged=False)},
        "mountLabel": lsm.mount_label(security, host),
        "seccomp": seccomp.default_profile(frozenset(), host.machine) if confined else None,
    }
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": False,
            "user": process.infra_user(security),
            "args": ["/init", "-P"],
            "env": [f"PATH={process.DEFAULT_PATH}"],
            "cwd": "/",
            "capabilities": capabilities.NONE,
            "noNewPrivileges": True,
            "oomScoreAdj": process.oom_score_adj(INFRA_OOM_SCORE_ADJ, host.oom_score_adj_floor),
            **lsm.process_labels(security, host),
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": mounts.infra_mounts(),
        "linux": {key: value for key, value in linux.items() if value},
    }


def _is_systemd(cgroups_path: str) -> bool:
    """Whether it is slice:prefix:name and no path."""
    return cgroups_path.count(":") == 2 and not cgroups_path.startswith("/")


def _namespaces(wanted: Mapping[str, str]) -> list[dict[str, str]]:
    """OCI ``linux.namespaces``."""
    return [{"type": kind, "path": path} if path else {"type": kind} for kind, path in wanted.items()]


def _hidden_paths(paths: Any, security: api.LinuxContainerSecurityContext, field: str) -> list[str]:
    """Masked or read-only paths exactly as the request has them, none for a privileged container.

    An empty list is a request, too: it is how a kubelet says procMount "Unmasked", and the protocol cannot tell it from
    a field that was not set. containerd does the same.
    """
    if security.privileged:
        return []
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise InvalidArgument(f"security_context.{field}: {path!r} is not an absolute path")
    return list(paths)
