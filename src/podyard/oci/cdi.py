"""Devices by name: the Container Device Interface (CDI specification, "CDI JSON Specification" and "Kubernetes").

Vendors describe in files below /etc/cdi and /var/run/cdi what a container needs to use a device. A request names
devices in ``CDI_devices`` or in annotations; here the names become edits, and ``cdi_edits`` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument

ANNOTATION = "cdi.k8s.io/"
"""Prefix of annotations that ask for devices; their values are names with commas between them."""

VERSIONS = frozenset({"0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"})
FILE_LIMIT = 4 << 20
"""Bytes of one file."""
FILES_LIMIT = 1000
"""Files in one directory."""

_KIND = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")

HookName = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


class DeviceNode(msgspec.Struct, forbid_unknown_fields=True):
    """A device node. What is left out is as on the host."""

    path: str
    hostPath: str = ""
    type: Literal["", "b", "c", "u", "p"] = ""
    major: int = 0
    minor: int = 0
    fileMode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class CdiMount(msgspec.Struct, forbid_unknown_fields=True):
    """A mount of the host."""

    hostPath: str
    containerPath: str
    type: str = ""
    options: list[str] = []


class Hook(msgspec.Struct, forbid_unknown_fields=True):
    """A program that the OCI runtime runs at a point of the container's life (OCI config.md, POSIX-platform Hooks)."""

    hookName: HookName
    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class IntelRdt(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Cache and memory bandwidth (OCI config-linux.md, IntelRdt)."""

    closID: str = ""
    l3CacheSchema: str = ""
    memBwSchema: str = ""
    enableCMT: bool = False
    enableMBM: bool = False


class Edits(msgspec.Struct, forbid_unknown_fields=True):
    """What changes in a container's spec (``containerEdits``)."""

    env: list[str] = []
    deviceNodes: list[DeviceNode] = []
    mounts: list[CdiMount] = []
    hooks: list[Hook] = []
    intelRdt: IntelRdt | None = None
    additionalGids: list[int] = []


class Device(msgspec.Struct, forbid_unknown_fields=True):
    """One device of a file."""

    name: str
    containerEdits: Edits
    annotations: dict[str, str] = {}


class SpecFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file. ``containerEdits`` go with each of its devices."""

    cdiVersion: str
    kind: str
    devices: list[Device]
    containerEdits: Edits = msgspec.field(default_factory=Edits)
    annotations: dict[str, str] = {}


@dataclass
class Registry:
    """All devices of the host. ``problems``: what is wrong with files, and names that two files of one rank have."""

    devices: dict[str, tuple[SpecFile, Device]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def requested(config: api.ContainerConfig) -> list[str]:
    """The names of the devices that a container asks for, each once.

    Raises InvalidArgument for what is not of the form vendor/class=device.
    """
    names = [device.name for device in config.CDI_devices]
    for key in sorted(config.annotations):
        if key.startswith(ANNOTATION):
            names += [name.strip() for name in config.annotations[key].split(",")]
    for name in names:
        kind, separator, device = name.partition("=")
        if not (separator and _KIND.fullmatch(kind) and _DEVICE.fullmatch(device)):
            raise InvalidArgument(f"CDI device {name!r} is not of the form vendor/class=device")
    return list(dict.fromkeys(names))


def find(names: Sequence[str], folders: Sequence[Path]) -> list[Edits]:
    """The edits of devices, in the order of their names. Blocking: reads files; without names none.

    The edits that all devices of a file share come once, before its first device's.

    Raises FailedPrecondition, naming the device, for one that is in no file or cannot be told from another.
    """
    if not names:
        return []
    registry = read(folders)
    edits: list[Edits] = []
    used: list[SpecFile] = []
    for name in names:
        if name not in registry.devices:
            where = ", ".join(map(str, folders))
            also = f"; {'; '.join(registry.problems)}" if registry.problems else ""
            raise FailedPrecondition(f"there is no CDI device {name} in {where}{also}")
        file, device = registry.devices[name]
        if not any(file is other for other in used):
            used.append(file)
            edits.append(file.containerEdits)
        edits.append(device.containerEdits)
    return edits


def read(folders: Iterable[Path]) -> Registry:
    """The devices in all files of the folders; those of a later folder stand before those of an earlier one."""
    registry = Registry()
    for folder in folders:
        origins: dict[str, Path] = {}
        for path in _files(folder, registry.problems):
            try:
                file = read_file(path)
            except InvalidArgument as error:
                registry.problems.append(str(error))
                continue
            for device in file.devices:
                name = f"{file.kind}={device.name}"
                if name in origins:
                    registry.problems.append(f"both {origins[name]} and {path} have {name}")
                    registry.devices.pop(name, None)
                    continue
                origins[name] = path
                registry.devices[name] = file, device
    return registry


def read_file(path: Path) -> SpecFile:
    """One file, JSON or YAML. Raises InvalidArgument, naming it, for what the specification does not allow."""
    try:
        with path.open("rb") as opened:
            content = opened.read(FILE_LIMIT + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    if len(content) > FILE_LIMIT:
        raise InvalidArgument(f"{path} has more than {FILE_LIMIT} bytes")
    try:
        file = msgspec.convert(_parse(content, path), SpecFile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no CDI file: {error}") from error
    if file.cdiVersion not in VERSIONS:
        raise InvalidArgument(
            f"{path} has the CDI version {file.cdiVersion!r}, known are {', '.join(sorted(VERSIONS))}"
        )
    if not _KIND.fullmatch(file.kind):
        raise InvalidArgument(f"{path}: kind {file.kind!r} is not of the form vendor/class")
    for device in file.devices:
        if not _DEVICE.fullmatch(device.name):
            raise InvalidArgument(f"{path}: {device.name!r} is no name of a device")
    for edits in (file.containerEdits, *(device.containerEdits for device in file.devices)):
        _check_paths(edits, path)
    return file


def _parse(content: bytes, path: Path) -> Any:
    if path.suffix == ".json":
        return msgspec.json.decode(content)
    import yaml

    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _check_paths(edits: Edits, path: Path) -> None:
    named = [node.path for node in edits.deviceNodes]
    named += [node.hostPath for node in edits.deviceNodes if node.hostPath]
    named += [name for mount in edits.mounts for name in (mount.hostPath, mount.containerPath)]
    named += [hook.path for hook in edits.hooks]
    for name in named:
        if not name.startswith("/") or "\0" in name:
            raise InvalidArgument(f"{path}: {name!r} is not an absolute path")
    for variable in edits.env:
        if "=" not in variable or variable.startswith("=") or "\0" in variable:
            raise InvalidArgument(f"{path}: {variable!r} is not of the form NAME=value")
    for node in edits.deviceNodes:
        if set(node.permissions) - set("rwm"):
            raise InvalidArgument(f"{path}: permissions {node.permissions!r} are not made of r, w and m")


def _files(folder: Path, problems: list[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".yaml"})
    if len(found) > FILES_LIMIT:
        problems.append(f"{folder} has more than {FILES_LIMIT} files: the others are left out")
    return found[:FILES_LIMIT]
