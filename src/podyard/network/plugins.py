"""Running CNI plugins (CNI 1.1.0, section 2)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podyard.errors import DeadlineExceeded, FailedPrecondition, Internal, Unavailable
from podyard.linux import process
from podyard.network.configuration import NetworkConfiguration
from podyard.network.results import parse_result, plugin_error

VERSION_LIMIT = 10.0
"""Seconds that a plugin may take to name its versions."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Invocation:
    """What all plugins of a chain are told in their environment. ``verb`` is ADD, DEL, GC, STATUS."""

    verb: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""

    def __str__(self) -> str:
        return f"{self.verb} of sandbox {self.container_id[:12]}" if self.container_id else self.verb


class Plugins:
    """The plugins of the configured directories."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._versions: dict[tuple[Path, int, int], tuple[str, ...]] = {}

    def find(self, name: str) -> Path | None:
        """A plugin's executable, or None."""
        for folder in self._folders:
            path = folder / name
            if path.is_file() and os.access(path, os.X_OK):
                return path
        return None

    def missing(self, configuration: NetworkConfiguration) -> str:
        """What a configuration needs and is not installed, as text with what to do; "" when all is there."""
        names = [name for name in configuration.plugin_names if self.find(name) is None]
        return self._missing_text(names) if names else ""

    async def run(self, invocation: Invocation, config: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Run the plugin of a configuration; its result for ADD, {} for anything else.

        ``config``: what it reads, with ``type``, ``name`` and ``cniVersion``. ``deadline``: the event loop's time by
        which it must have ended; then it is killed.

        Raises Unavailable when it is not installed, DeadlineExceeded, and what its own error is translated to.
        """
        name, version = str(config["type"]), str(config["cniVersion"])
        path = self.find(name)
        if path is None:
            raise Unavailable(f"{invocation} failed: {self._missing_text([name])}")
        what = f"the CNI plugin {name} failed to {invocation}"
        limit = max(deadline - asyncio.get_running_loop().time(), 0.001)
        done = await self._execute(path, invocation, msgspec.json.encode(config), limit)
        if done.code != 0:
            raise plugin_error(what, done.code, done.stdout, done.stderr)
        if invocation.verb != "ADD":
            return {}
        try:
            return parse_result(done.stdout, version)
        except ValueError as error:
            raise Internal(f"{what}: its result cannot be read: {error}") from error

    async def version_for(self, configuration: NetworkConfiguration) -> str:
        """The newest CNI version that a configuration, its plugins and podyard have in common.

        Raises Unavailable when a plugin is not installed, FailedPrecondition when there is no such version.
        """
        spoken = {name: await self.versions(name) for name in (plugin["type"] for plugin in configuration.plugins)}
        for version in configuration.versions:
            if all(version in versions for versions in spoken.values()):
                return version
        plugins = "; ".join(f"{name}: {', '.join(versions) or 'none'}" for name, versions in spoken.items())
        raise FailedPrecondition(
            f"the CNI network {configuration.name} wants CNI version {' or '.join(configuration.versions)}, "
            f"which its plugins do not all speak ({plugins}): change cniVersion or install other plugins"
        )

    async def versions(self, name: str) -> tuple[str, ...]:
        """The CNI versions that a plugin says it supports (VERSION). Asked once for each state of its file.

        Raises Unavailable when it is not installed, Internal or DeadlineExceeded when it does not say.
        """
        path = self.find(name)
        if path is None:
            raise Unavailable(self._missing_text([name]))
        stat = path.stat()
        key = (path, stat.st_ino, stat.st_mtime_ns)
        if key not in self._versions:
            self._versions[key] = await self._ask_versions(name, path)
        return self._versions[key]

    async def _ask_versions(self, name: str, path: Path) -> tuple[str, ...]:
        done = await self._execute(path, Invocation("VERSION"), b'{"cniVersion":"1.0.0"}', VERSION_LIMIT)
        what = f"the CNI plugin {name} failed to name its versions"
        if done.code != 0:
            raise plugin_error(what, done.code, done.stdout, done.stderr)
        try:
            return msgspec.json.decode(done.stdout, type=_Versions).supported
        except msgspec.DecodeError as error:
            raise Internal(f"{what}: {error}") from error

    async def _execute(self, path: Path, invocation: Invocation, stdin: bytes, limit: float) -> process.Completed:
        env = tool_environment() | {
            "CNI_COMMAND": invocation.verb,
            "CNI_CONTAINERID": invocation.container_id,
            "CNI_NETNS": invocation.netns,
            "CNI_IFNAME": invocation.ifname,
            "CNI_ARGS": invocation.args,
            "CNI_PATH": ":".join(map(str, self._folders)),
        }
        try:
            return await process.run([str(path)], limit=limit, stdin=stdin, env=env)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"the CNI plugin {path.name} did not end its {invocation} in time and was killed after {limit:.1f} s"
            ) from error

    def _missing_text(self, names: Sequence[str]) -> str:
        plural = "plugins are" if len(names) > 1 else "plugin is"
        folders = ", ".join(map(str, self._folders))
        return (
            f"the CNI {plural} not installed: {', '.join(names)}; put it into one of network.bin_dirs ({folders}), "
            "on Debian by installing containernetworking-plugins"
        )


def tool_environment() -> dict[str, str]:
    """The environment for plugins and iptables: the daemon's PATH may lack the directories of the system's tools."""
    return dict(os.environ) | {"PATH": ":".join(filter(None, (os.environ.get("PATH"), SYSTEM_PATH)))}


class _Versions(msgspec.Struct):
    supported: tuple[str, ...] = msgspec.field(name="supportedVersions")
