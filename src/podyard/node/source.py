"""The Pods that a directory of manifests asks for."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from podyard.errors import NotFound, PodyardError
from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.manifest.source import MAX_BYTES

MANIFEST_FILE = "podyard.io/manifest-file"
"""Annotation of a Pod that stands in a directory of manifests: its file."""
CONFIG_SOURCE = "kubernetes.io/config.source"
"""Annotation by which tools know static Pods; its value is "file"."""

SETTLED = 0.5
"""Seconds since its last change after which a file is taken to be written to its end."""

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
    pods: list[Pod]
    problem: str = ""


class ManifestDirectory:
    """Looks at a directory: every file in it whose name does not begin with a dot is a manifest.

    A file that is wrong, or still being written, counts with what it held before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
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
        before = known.pods if known is not None else []
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            pods = [_marked(pod, path) for pod in parse(text, str(path))]
        except OSError as error:
            self._files[str(path)] = _File(signature, before, f"{path}: cannot be read: {error.strerror}")
        except PodyardError as error:
            self._files[str(path)] = _File(signature, before, str(error))
        else:
            self._files[str(path)] = _File(signature, pods)
            return True
        return False

    def _wanted(self, held: set[str]) -> Wanted:
        pods: dict[str, Pod] = {}
        problems = {}
        for name, file in sorted(self._files.items()):
            if file.problem:
                problems[name] = file.problem
            for pod in file.pods:
                first = pods.setdefault(pod.full_name, pod)
                if first is not pod:
                    other = first.metadata.annotations[MANIFEST_FILE]
                    problems[name] = f"{name}: the Pod {pod.full_name} stands in {other} already: that one is run"
        return Wanted(pods, frozenset(held), problems)


def _marked(pod: Pod, path: Path) -> Pod:
    """The Pod with its file in its annotations: after a restart they tell whose it is."""
    annotations = {**pod.metadata.annotations, CONFIG_SOURCE: "file", MANIFEST_FILE: str(path)}
    return replace(pod, metadata=replace(pod.metadata, annotations=annotations))
