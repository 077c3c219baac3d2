"""The Pods that a directory of manifests asks for, and the ConfigMaps and Secrets that it holds for them."""

from __future__ import annotations

import asyncio
import dataclasses
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podyard.errors import NotFound, PodyardError
from podyard.manifest import Manifest, parse
from podyard.manifest.model import Pod
from podyard.manifest.source import MAX_BYTES
from podyard.node.wanted import ORIGIN, Wanted, marked
from podyard.pods.objects import ManifestObjects

SETTLED = 0.5
"""Seconds since its last change after which a file is taken to be written to its end."""

_T = TypeVar("_T")
Name = tuple[str, str]
"""A namespace and a name in it."""
_Signature = tuple[int, int, int]
"""Inode, size, and time of the last change in nanoseconds."""


@dataclass
class _File:
    signature: _Signature | None
    """Of what was read; None where it could not be read."""
    holds: Manifest
    problem: str = ""


class ManifestDirectory:
    """Looks at a directory: every file in it whose name does not begin with a dot is a manifest.

    A file that is wrong, or still being written, counts with what it held before. ``objects``: the ConfigMaps and
    Secrets of all files, as the last look found them. ``node``: the node's name in a cluster.
    """

    def __init__(self, path: Path, node: str = "") -> None:
        self.path = path.absolute()
        self._node = node
        self.objects = ManifestObjects()
        self._files: dict[str, _File] = {}

    async def wanted(self) -> Wanted:
        """What the directory asks for now."""
        try:
            return await asyncio.to_thread(self.look)
        except NotFound as error:
            return Wanted(blind=True, problems={str(self.path): f"{error}: what runs is left alone"})

    def look(self) -> Wanted:
        """What the directory asks for now. Blocks for as long as the file system takes: for a thread.

        Raises NotFound when it cannot be listed.
        """
        try:
            entries = sorted(entry for entry in self.path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise NotFound(f"the manifest directory {self.path} cannot be listed: {error.strerror}") from error
        held: set[str] = set()
        seen: set[str] = set()
        for entry in entries:
            try:
                state = entry.stat()
            except FileNotFoundError:
                continue  # renamed or removed since it was listed, or a link to nowhere
            except OSError:
                seen.add(str(entry))
                held.add(str(entry))
                continue
            if not stat.S_ISREG(state.st_mode):
                continue
            seen.add(str(entry))
            if not self._read(entry, (state.st_ino, state.st_size, state.st_mtime_ns)):
                held.add(str(entry))
        self._files = {name: file for name, file in self._files.items() if name in seen}
        return self._wanted(held)

    def owns(self, origin: str) -> bool:
        """Whether it is a file of this directory."""
        return origin.startswith("/") and Path(origin).parent == self.path

    def _read(self, path: Path, signature: _Signature) -> bool:
        """Bring what is known of a file up to date; whether it is known as it stands there now."""
        known = self._files.get(str(path))
        if known is not None and known.signature == signature:
            return not known.problem
        if 0 <= time.time() - signature[2] / 1e9 < SETTLED:
            return False
        before = known.holds if known is not None else Manifest()
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            manifest = parse(text, str(path))
        except OSError as error:
            # The file may be read another time without having changed.
            self._files[str(path)] = _File(None, before, f"{path}: cannot be read: {error.strerror}")
        except PodyardError as error:
            self._files[str(path)] = _File(signature, before, str(error))
        else:
            pods = [marked(pod, str(path), "file", self._node) for pod in manifest.pods]
            self._files[str(path)] = _File(signature, dataclasses.replace(manifest, pods=pods))
            return True
        return False

    def _wanted(self, held: set[str]) -> Wanted:
        pods: dict[str, Pod] = {}
        problems = {}
        for name, file in sorted(self._files.items()):
            if file.problem:
                problems[name] = file.problem
            for pod in file.holds.pods:
                first = pods.setdefault(pod.full_name, pod)
                if first is not pod:
                    other = first.metadata.annotations[ORIGIN]
                    problems[name] = f"{name}: the Pod {pod.full_name} stands in {other} already: that one is run"
        self.objects.config_maps = self._collect("ConfigMap", lambda manifest: manifest.config_maps, problems)
        self.objects.secrets = self._collect("Secret", lambda manifest: manifest.secrets, problems)
        return Wanted(pods, frozenset(held), problems)

    def _collect(
        self, kind: str, of: Callable[[Manifest], Mapping[Name, _T]], problems: dict[str, str]
    ) -> dict[Name, _T]:
        found: dict[Name, _T] = {}
        for file, known in sorted(self._files.items()):
            for name, value in of(known.holds).items():
                if name in found:
                    problems[file] = f"{file}: the {kind} {'/'.join(name)} stands in another file already: that counts"
                found.setdefault(name, value)
        return found
