"""What makes a request wrong, before anything is touched, and when two requests are the same."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from podyard.errors import InvalidArgument, Unimplemented

LABEL_LIMIT = 4096
"""Bytes of a label's key and value together: containerd's limit, which its users' tools keep to."""

HOSTNAME_LIMIT = 64
"""Bytes of a host name (uname(2))."""

PARENT_LIMIT = 4096
"""Characters of a path (PATH_MAX)."""

_SLICE = re.compile(r"[A-Za-z0-9:_.\\]+(-[A-Za-z0-9:_.\\]+)*\.slice")
"""A slice's name (systemd.slice(5)): a dash parts it from the one above, so none stands at an end or beside another."""
_SYSCTL = re.compile(r"[a-z0-9][a-z0-9_-]*([./][A-Za-z0-9_-]+)+")
_IPC_SYSCTLS = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem"}
_NETWORK, _IPC = "the network namespace", "the IPC namespace"


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise InvalidArgument when a label is too long."""
    for key, value in labels.items():
        if len(key.encode()) + len(value.encode()) > LABEL_LIMIT:
            raise InvalidArgument(f"label {key[:40]!r} and its value have more than {LABEL_LIMIT} bytes")


def check_name(name: str, what: str) -> None:
    """Raise InvalidArgument when a name is empty or cannot stand in a path or a message."""
    if not name:
        raise InvalidArgument(f"{what} is empty")
    if len(name) > 253 or not name.isprintable() or "/" in name:
        raise InvalidArgument(f"{what} {name[:60]!r} must be printable, without '/', of 253 characters at most")


def check_hostname(hostname: str) -> None:
    """Raise InvalidArgument when the kernel, or a line of /etc/hostname, would not take it."""
    if len(hostname.encode()) > HOSTNAME_LIMIT:
        raise InvalidArgument(f"host name {hostname[:70]!r} has more than {HOSTNAME_LIMIT} bytes")
    if not hostname.isprintable():
        raise InvalidArgument(f"host name {hostname!r} is not printable")


def check_known(field: str, value: int, known: Container[int]) -> None:
    """Raise InvalidArgument for a value that an enumeration of the protocol has not: a client may send any number."""
    if value not in known:
        raise InvalidArgument(f"{field} {value} is not a value that the protocol has")


def check_cgroup_parent(parent: str, *, systemd: bool) -> None:
    """Raise InvalidArgument for a cgroup under which no pod can be; "" leaves the choice to podyard.

    ``systemd``: systemd makes the cgroups, so the parent is a slice: its name, or the path of its cgroup.
    """
    if not parent:
        return
    if len(parent) > PARENT_LIMIT or not parent.isprintable() or ".." in parent.split("/"):
        raise InvalidArgument(f"linux.cgroup_parent {parent[:60]!r} is not the path of a cgroup")
    if systemd and not _SLICE.fullmatch(parent.rstrip("/").rpartition("/")[2]):
        raise InvalidArgument(
            f"linux.cgroup_parent {parent!r} does not end in the name of a systemd slice such as kubepods.slice: "
            "let the client use the systemd cgroup driver (RuntimeConfig tells it so), "
            'or set runtime.cgroup_driver = "cgroupfs"'
        )


def check_log_path(log_directory: str, log_path: str) -> None:
    """Raise InvalidArgument when the log would land outside its directory, or where nobody looks for it."""
    if log_path.startswith("/") or ".." in log_path.split("/"):
        raise InvalidArgument(f"log_path {log_path!r} leaves the log directory {log_directory!r}")
    if not log_directory or not log_path:
        return  # no log
    if not log_directory.startswith("/"):
        raise InvalidArgument(f"log_directory {log_directory!r} is not an absolute path")
    for field, path in (("log_directory", log_directory), ("log_path", log_path)):
        # conmon ends the path at a colon, and would write to another file.
        if ":" in path or "\0" in path:
            raise InvalidArgument(f"{field} {path!r} holds a colon or a NUL character: the log cannot be written there")


def check_sysctls(sysctls: Mapping[str, str], *, host_network: bool, host_ipc: bool) -> None:
    """Raise InvalidArgument for a sysctl that is not the pod's own (sysctl(8), namespaces(7)).

    Only those of the network and the IPC namespace are, and only where the pod has its own of that kind.
    """
    for name in sysctls:
        if not _SYSCTL.fullmatch(name):
            raise InvalidArgument(f"sysctl {name!r} is not a name such as net.core.somaxconn")
        owner = _owner_of_sysctl(name.replace("/", "."))
        if not owner:
            raise InvalidArgument(f"sysctl {name} is the whole host's: a pod cannot have its own")
        if (owner == _NETWORK and host_network) or (owner == _IPC and host_ipc):
            raise InvalidArgument(f"sysctl {name} belongs to {owner}, which this pod shares with the host")


def check_unimplemented(fields: Mapping[str, bool]) -> None:
    """Raise Unimplemented for the first field (name: whether it was given) that podyard does not carry out yet."""
    for name, given in fields.items():
        if given:
            raise Unimplemented(f"podyard does not carry out {name} yet; remove it from the request")


def _owner_of_sysctl(name: str) -> str:
    if name.startswith("net."):
        return _NETWORK
    if name.startswith(("kernel.shm", "fs.mqueue.")) or name in _IPC_SYSCTLS:
        return _IPC
    return ""
