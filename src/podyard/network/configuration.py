"""CNI network configurations: read from a directory, checked, and noticed when they change (CNI 1.1.0, section 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""CNI versions that podyard speaks, oldest first."""

SUFFIXES = frozenset({".conf", ".conflist", ".json"})
SIZE_LIMIT = 1 << 20
"""Bytes of a configuration file that are read."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class NetworkConfiguration:
    """A list of plugins under one network name. ``versions`` are those that it allows, the newest first."""

    name: str
    versions: tuple[str, ...]
    plugins: tuple[dict[str, Any], ...]
    raw: dict[str, Any]

    @property
    def plugin_names(self) -> list[str]:
        """The plugins that a pod needs, those that give addresses included."""
        names = []
        for plugin in self.plugins:
            names.append(plugin["type"])
            ipam = plugin.get("ipam")
            if isinstance(ipam, dict) and isinstance(ipam.get("type"), str):
                names.append(ipam["type"])
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Loaded:
    """What a directory has: the first valid configuration, why files before it are not used, whether there are any."""

    configuration: NetworkConfiguration | None
    problems: tuple[str, ...]
    any_file: bool


def parse(content: bytes, *, is_list: bool) -> NetworkConfiguration:
    """A network configuration list, or a single plugin's configuration as a list of one.

    Raises ValueError with what is wrong.
    """
    raw = msgspec.json.decode(content)
    if not isinstance(raw, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004
    if not is_list:
        if "plugins" in raw:
            raise ValueError("it is a list of plugins: such a file must be named *.conflist")
        raw = {"cniVersion": raw.get("cniVersion"), "name": raw.get("name"), "plugins": [raw]}
    name = raw.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"its name {name!r} must begin with a letter or digit, then only those, '_', '.' and '-'")
    plugins = raw.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise ValueError("it has no plugins")
    for number, plugin in enumerate(plugins):
        _check_plugin(number, plugin)
    return NetworkConfiguration(name, _versions(raw), tuple(plugins), raw)


def _check_plugin(number: int, plugin: object) -> None:
    kind = plugin.get("type") if isinstance(plugin, dict) else None
    # A type is the name of a file in the plugins' directory: never a path out of it.
    if not isinstance(kind, str) or not kind or "/" in kind or kind in {".", ".."}:
        raise ValueError(f"plugin {number} has no valid type: {kind!r}")
    capabilities = plugin.get("capabilities") if isinstance(plugin, dict) else None
    if capabilities is not None and not isinstance(capabilities, dict):
        raise ValueError(f"the capabilities of plugin {number} ({kind}) are not a JSON object")


def _versions(raw: dict[str, Any]) -> tuple[str, ...]:
    """The versions that both sides know; ``cniVersions`` names further ones than ``cniVersion`` (CNI 1.1.0)."""
    more = raw.get("cniVersions")
    allowed = [raw.get("cniVersion"), *(more if isinstance(more, list) else ())]
    known = tuple(version for version in reversed(SUPPORTED) if version in allowed)
    if not known:
        named = ", ".join(str(version) for version in allowed if version is not None) or "none"
        raise ValueError(f"its cniVersion ({named}) is not one of {', '.join(SUPPORTED)}")
    return known


class Directory:
    """The directory of configuration files. It is read again when a file in it has changed, come or gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: list[tuple[str, int, int, int]] | None = None
        self._loaded = Loaded(None, (), False)

    def load(self) -> Loaded:
        """What is there now. Comparing names, inodes, sizes and times costs microseconds, so no watcher is needed."""
        try:
            files = sorted(path for path in self.path.iterdir() if path.suffix in SUFFIXES)
        except (FileNotFoundError, NotADirectoryError):
            files = []
        except OSError as error:
            return Loaded(None, (f"{self.path} cannot be read: {error.strerror}",), True)
        seen = [_fingerprint(file) for file in files]
        if seen != self._seen:
            self._loaded = _first_valid(files)
            self._seen = seen
        return self._loaded


def _fingerprint(file: Path) -> tuple[str, int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        # Just gone, or a link that leads nowhere: reading it says so.
        return file.name, 0, 0, 0
    return file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _first_valid(files: Sequence[Path]) -> Loaded:
    problems: list[str] = []
    for file in files:
        try:
            configuration = parse(_content(file), is_list=file.suffix == ".conflist")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(f"{file} is not used: {reason}")
        else:
            return Loaded(configuration, tuple(problems), True)
    return Loaded(None, tuple(problems), bool(files))


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise ValueError(f"it is larger than {SIZE_LIMIT} bytes")
    return content
