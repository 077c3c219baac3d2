"""Device nodes of a container and which of them its cgroup lets it use (OCI config-linux.md, CRI ``Device``)."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument

HOST_DEVICES = Path("/dev")

OWN_FOLDERS = {"pts", "shm", "mqueue", "fd"}
"""Below /dev, each container has its own of these."""

STANDARD = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
"""The nodes that the OCI runtime makes in every container (config-linux.md, Default Devices)."""

LIMIT = 10_000
"""Nodes below one directory: a host with more has lost its bearings."""

_DENY_ALL: dict[str, Any] = {"allow": False, "access": "rwm"}
_ALLOW_ALL: dict[str, Any] = {"allow": True, "access": "rwm"}


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    numbers = {name: number for name, number in (("major", major), ("minor", minor)) if number is not None}
    return {"allow": True, "type": kind, **numbers, "access": access}


STANDARD_RULES: tuple[dict[str, Any], ...] = (
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    _allow("c", 1, 3, "rwm"),  # null
    _allow("c", 1, 5, "rwm"),  # zero
    _allow("c", 1, 7, "rwm"),  # full
    _allow("c", 1, 8, "rwm"),  # random
    _allow("c", 1, 9, "rwm"),  # urandom
    _allow("c", 5, 0, "rwm"),  # tty
    _allow("c", 5, 1, "rwm"),  # console
    _allow("c", 5, 2, "rwm"),  # ptmx
    _allow("c", 136, None, "rwm"),  # pts/*
)
"""Any node may be made (that takes CAP_MKNOD), only these may be opened (kernel documentation, devices.txt)."""


@dataclass(frozen=True)
class Node:
    """A device of the host as a container shall have it. ``kind``: "c" or "b"; ``access``: of "rwm"."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str


def find_devices(requested: Iterable[api.Device], *, privileged: bool) -> tuple[Node, ...]:
    """The devices of a request, and all of the host's for a privileged container. Blocking: looks at each node.

    A host path may be a node or a directory: then all nodes below it are meant, under the container path.

    Raises InvalidArgument, naming the device, for a path that is missing or no device, and for other permissions than
    "r", "w" and "m".
    """
    found = {node.path: node for node in _host_devices()} if privileged else {}
    for device in requested:
        for node in _requested(device):
            found[node.path] = node
    return tuple(found.values())


def device_nodes(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """OCI ``linux.devices``: what the runtime makes besides the standard nodes."""
    return [
        {
            "path": node.path,
            "type": node.kind,
            "major": node.major,
            "minor": node.minor,
            "fileMode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
        }
        for node in nodes
    ]


def device_rules(nodes: Sequence[Node], *, privileged: bool) -> list[dict[str, Any]]:
    """OCI ``linux.resources.devices``: the standard devices and the request's, or all for the privileged."""
    if privileged:
        return [dict(_ALLOW_ALL)]
    asked = [_allow(node.kind, node.major, node.minor, node.access) for node in nodes]
    return [dict(_DENY_ALL), *(dict(rule) for rule in STANDARD_RULES), *asked]


def _requested(device: api.Device) -> list[Node]:
    where = f"device {device.host_path!r}"
    container_path = _absolute(device.container_path, f"{where}: container_path")
    host_path = Path(_absolute(device.host_path, f"{where}: host_path"))
    if not device.permissions or set(device.permissions) - set("rwm"):
        raise InvalidArgument(f"{where}: permissions {device.permissions!r} are not made of r, w and m")
    access = "".join(letter for letter in "rwm" if letter in device.permissions)
    try:
        status = host_path.stat()
        if stat.S_ISDIR(status.st_mode):
            nodes = list(_nodes_below(host_path, container_path, access))
        else:
            nodes = [_node(status, container_path, access)] if _is_device(status) else []
    except OSError as error:
        raise InvalidArgument(f"{where}: {error.strerror}") from error
    if not nodes:
        raise InvalidArgument(f"{where} is neither a device nor a directory with devices")
    return nodes


def _host_devices() -> Iterator[Node]:
    """All nodes below /dev but those that each container has of its own."""
    for node in _nodes_below(HOST_DEVICES, "/dev", "rwm"):
        first, _, rest = node.path.removeprefix("/dev/").partition("/")
        if first not in OWN_FOLDERS and (rest or first not in STANDARD):
            yield node


def _nodes_below(folder: Path, container_path: str, access: str) -> Iterator[Node]:
    """The nodes below a directory. Links are left out: they name nodes that have a place of their own.

    Raises InvalidArgument when there are too many, OSError when the directory cannot be read.
    """
    count = 0
    for parent, folders, names in os.walk(folder, onerror=_raise):
        if Path(parent) == HOST_DEVICES:
            folders[:] = [name for name in folders if name not in OWN_FOLDERS]
        for name in names:
            try:
                status = os.lstat(f"{parent}/{name}")
            except FileNotFoundError:
                continue
            count += 1
            if count > LIMIT:
                raise InvalidArgument(f"device {str(folder)!r}: more than {LIMIT} files lie below it")
            if _is_device(status):
                inside = os.path.relpath(f"{parent}/{name}", folder)
                yield _node(status, posixpath.join(container_path, inside), access)


def _raise(error: OSError) -> None:
    # A directory that went while others were read holds nothing any more.
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _node(status: os.stat_result, path: str, access: str) -> Node:
    return Node(
        path=path,
        kind="c" if stat.S_ISCHR(status.st_mode) else "b",
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def _absolute(path: str, field: str) -> str:
    normal = posixpath.normpath(path) if path else ""
    if not normal.startswith("/") or "\0" in normal or normal.strip("/") == "":
        raise InvalidArgument(f"{field} {path!r} is not an absolute path")
    return "/" + normal.lstrip("/")
