"""Which Linux capabilities a container's process gets (capabilities(7), CRI ``Capability``)."""

from __future__ import annotations

from collections.abc import Iterable, Set

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument

BY_NUMBER = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""The name of each capability at its number (linux/capability.h)."""

KNOWN = frozenset(BY_NUMBER)

DEFAULT = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
"""What a container gets that asks for nothing: what containerd and docker give."""

ALL = "ALL"

NONE: dict[str, list[str]] = {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []}
"""The document of a process without capabilities."""


def from_mask(mask: int) -> frozenset[str]:
    """The names in a bit mask as /proc/<pid>/status gives it; bits that this file does not know are left out."""
    return frozenset(name for number, name in enumerate(BY_NUMBER) if mask >> number & 1)


def capability_sets(request: api.Capability, *, privileged: bool, available: Set[str]) -> dict[str, list[str]]:
    """The five sets of OCI ``process.capabilities``, each sorted.

    ``available``: the daemon's own capabilities; more cannot be handed on. A privileged container gets all of them.
    Otherwise: the defaults, "ALL" first (add: all available, drop: none), then the single names, drops last. Ambient
    names join every set, since the kernel keeps a capability ambient only while it is permitted and inheritable.

    Raises InvalidArgument for an unknown name, FailedPrecondition for one that the daemon does not have.
    """
    added = _names(request.add_capabilities, "add_capabilities")
    dropped = _names(request.drop_capabilities, "drop_capabilities")
    ambient = _names(request.add_ambient_capabilities, "add_ambient_capabilities")
    chosen = set(available) if privileged else _chosen(added, dropped, available)
    ambient_set = set(available) if ALL in ambient else ambient
    _refuse_unavailable((added | ambient) - {ALL}, available)
    chosen |= ambient_set
    granted = sorted(chosen)
    return {
        "bounding": granted,
        "effective": granted,
        "permitted": granted,
        "inheritable": sorted(ambient_set),
        "ambient": sorted(ambient_set),
    }


def _chosen(added: set[str], dropped: set[str], available: Set[str]) -> set[str]:
    chosen = set(available) if ALL in added else DEFAULT & available
    if ALL in dropped:
        chosen = set()
    return (set(chosen) | (added - {ALL})) - dropped


def _names(given: Iterable[str], field: str) -> set[str]:
    """The full names of what a request lists: "net_admin", "NET_ADMIN" and "CAP_NET_ADMIN" are one."""
    names = set()
    for name in given:
        upper = name.upper()
        full = upper if upper == ALL or upper.startswith("CAP_") else f"CAP_{upper}"
        if full != ALL and full not in KNOWN:
            raise InvalidArgument(f"security_context.capabilities.{field}: there is no capability {name!r}")
        names.add(full)
    return names


def _refuse_unavailable(names: Set[str], available: Set[str]) -> None:
    missing = sorted(names - available)
    if missing:
        raise FailedPrecondition(
            f"the container asks for {', '.join(missing)}, which podyard itself does not have: "
            "start podyard with it, or do not ask for it"
        )
