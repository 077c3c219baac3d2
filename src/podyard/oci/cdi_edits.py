"""The edits of CDI devices, made in an OCI spec (CDI specification, "OCI Edits")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from podyard.errors import FailedPrecondition
from podyard.oci.cdi import CdiMount, DeviceNode, Edits
from podyard.oci.mounts import depth


def look_up(found: Iterable[Edits]) -> tuple[Edits, ...]:
    """The same edits with what the host's device nodes tell filled in. Blocking: looks at each node.

    Raises FailedPrecondition, naming the node, for one that is missing or of another type.
    """
    return tuple(
        msgspec.structs.replace(edits, deviceNodes=[_filled(node) for node in edits.deviceNodes]) for edits in found
    )


def apply(spec: dict[str, Any], found: Iterable[Edits]) -> None:
    """Change a container's spec as its devices want it, after ``look_up``."""
    for edits in found:
        _add_environment(spec["process"]["env"], edits.env)
        for node in edits.deviceNodes:
            _add_node(spec, node)
        _add_mounts(spec, edits.mounts)
        for hook in edits.hooks:
            document = msgspec.to_builtins(hook)
            name = document.pop("hookName")
            chosen = {key: value for key, value in document.items() if value not in ([], None)}
            spec.setdefault("hooks", {}).setdefault(name, []).append(chosen)
        if edits.intelRdt is not None:
            spec["linux"]["intelRdt"] = msgspec.to_builtins(edits.intelRdt)
        groups = spec["process"]["user"]["additionalGids"]
        groups += [gid for gid in dict.fromkeys(edits.additionalGids) if gid and gid not in groups]


def _filled(node: DeviceNode) -> DeviceNode:
    """A node with the numbers, the type and the mode of the host's.

    One whose type and numbers the file tells need not be there: a driver makes it later, or in a container alone.
    """
    if node.type == "p" or (node.type and node.major):
        return node
    source = node.hostPath or node.path
    try:
        status = Path(source).stat()
    except OSError as error:
        raise FailedPrecondition(f"a CDI device needs {source}: {error.strerror}") from error
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c" if stat.S_ISCHR(status.st_mode) else ""
    if not kind or node.type not in {"", kind, "u" if kind == "c" else kind}:
        raise FailedPrecondition(f"a CDI device needs {source}, which is no device of the type {node.type or 'c or b'}")
    numbers = (node.major, node.minor) if node.major or node.minor else _numbers(status)
    return msgspec.structs.replace(
        node,
        type=node.type or kind,
        major=numbers[0],
        minor=numbers[1],
        fileMode=stat.S_IMODE(status.st_mode) if node.fileMode is None else node.fileMode,
    )


def _numbers(status: os.stat_result) -> tuple[int, int]:
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _add_environment(environment: list[str], added: Iterable[str]) -> None:
    """A later value replaces an earlier one in its place."""
    places = {entry.partition("=")[0]: index for index, entry in enumerate(environment)}
    for entry in added:
        name = entry.partition("=")[0]
        if name in places:
            environment[places[name]] = entry
        else:
            places[name] = len(environment)
            environment.append(entry)


def _add_node(spec: dict[str, Any], node: DeviceNode) -> None:
    user = spec["process"]["user"]
    document: dict[str, Any] = {"path": node.path, "type": node.type}
    if node.type != "p":
        document |= {"major": node.major, "minor": node.minor}
    if node.fileMode is not None:
        document["fileMode"] = node.fileMode
    # A device belongs to the container's user unless the vendor says otherwise (CDI specification, deviceNodes).
    document["uid"] = user["uid"] if node.uid is None else node.uid
    document["gid"] = user["gid"] if node.gid is None else node.gid
    linux = spec["linux"]
    others = [other for other in linux.get("devices", []) if other["path"] != node.path]
    linux["devices"] = [*others, document]
    if node.type != "p":
        rule = {
            "allow": True,
            "type": "c" if node.type == "u" else node.type,
            "major": node.major,
            "minor": node.minor,
            "access": node.permissions or "rwm",
        }
        linux["resources"]["devices"].append(rule)


def _add_mounts(spec: dict[str, Any], added: Sequence[CdiMount]) -> None:
    """A vendor's mount takes the place of another at its path; no mount hides another."""
    if not added:
        return
    taken = {mount.containerPath for mount in added}
    mounts = [mount for mount in spec["mounts"] if mount["destination"] not in taken]
    for mount in added:
        kind, options = mount.type or "bind", list(mount.options)
        if kind == "bind" and not {"bind", "rbind"} & set(options):
            options.insert(0, "rbind")
        mounts.append({"destination": mount.containerPath, "type": kind, "source": mount.hostPath, "options": options})
    spec["mounts"] = sorted(mounts, key=lambda mount: depth(mount["destination"]))
