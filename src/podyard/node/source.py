"""The Pods that a directory of manifests asks for, and the ConfigMaps and Secrets that it holds for them."""

from __future__ import annotations

import dataclasses
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from podyard.errors import NotFound, PodyardError
from podyard.manifest import Manifest, parse
from podyard.manifest.model import Pod
from podyard.manifest.source import MAX_BYTES
from podyard.pods.objects import ManifestObjects

MANIFEST_FILE = "podyard.io/manifest-file"
"""Annotation of a Pod that stands in a directory of manifests: its file."""
CONFIG_SOURCE = "kubernetes.io/config.source"
"""Annotation by which tools know static Pods; its value is "file"."""

SETTLED = 0.5
"""Seconds since its last change after which a file is taken to be written to its end."""

_T = TypeVar("_T")
Name = tuple[str, str]
"""A namespace and a name in it."""
_Signature = tuple[int, int, int]
"""Inode, size, and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Wanted:
    """What a look at the directory says."""

    pods: dict[str, Pod] = field(default_factory=dict)
    """By full name, ``namespace/name``."""
    held: frozenset[str] = frozenset()
    """Files that cannot be read now: whatever runs of them is left alone."""
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong, by file."""


@dataclass
class _File:
    signature: _Signature
    holds: Manifest
    problem: str = ""


class ManifestDirectory:
    """Looks at a directory: every file in it whose name does not begin with a dot is a manifest.

    A file that is wrong, or still being written, counts with what it held before. ``objects``: the ConfigMaps and
    Secrets of all files, as the last look found them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.objects = ManifestObjects()
        self._files: dict[str, _File] = {}

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

    def owns(self, file: str) -> bool:
        """Whether a Pod of that file is one of this directory's."""
        return bool(file) and Path(file).parent == self.path

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
            self._files[str(path)] = _File(signature, before, f"{path}: cannot be read: {error.strerror}")
        except PodyardError as error:
            self._files[str(path)] = _File(signature, before, str(error))
        else:
            pods = [_marked(pod, path) for pod in manifest.pods]
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
                    other = first.metadata.annotations[MANIFEST_FILE]
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


def _marked(pod: Pod, path: Path) -> Pod:
    """The Pod with its file in its annotations: after a restart they tell whose it is."""
    annotations = {**pod.metadata.annotations, CONFIG_SOURCE: "file", MANIFEST_FILE: str(path)}
    return replace(pod, metadata=replace(pod.metadata, annotations=annotations))
