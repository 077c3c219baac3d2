"""The directories of the layers below, for what the archive leaves out.

An overlay takes a directory's owner and mode from the topmost layer that has it. Where an archive has a file without
the directories above it, those must therefore be made as they are in the layers below, and a link there must be
followed.
"""

# Names are bytes that need not be text, and a Path for each would cost a third of the speed.
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

HOSTS_OWN = (b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor", b"security.SMACK64")
"""Attributes that the host gives to files by itself."""
OPAQUE = b"trusted.overlay.opaque"


class Folder(NamedTuple):
    """A directory of the layers below: what ``os.lstat`` says, and its extended attributes."""

    status: os.stat_result
    xattrs: dict[bytes, bytes]


class Below:
    """The merged view of ``layers``: descriptors of their root directories, the topmost first.

    ``wait`` returns when they are whole; it is called before the first look at them.

    Paths are relative and canonical: none of their directories is a link in the merged view.
    """

    def __init__(self, layers: Sequence[int], wait: Callable[[], None]) -> None:
        self._layers = layers
        self._wait = wait
        self._whole = not layers
        # The layers whose directory at a path takes part in the merged one.
        self._merged: dict[bytes, tuple[int, ...]] = {b"": tuple(range(len(layers)))}
        self._opaque: set[bytes] = set()

    def find(self, path: bytes) -> Folder | bytes | None:
        """What is at ``path``: a directory, the target of a symbolic link, or None for anything else and nothing."""
        self._look()
        merged: list[int] = []
        found: Folder | None = None
        for index in self._parents(path):
            layer = self._layers[index]
            try:
                status = os.lstat(path, dir_fd=layer)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(status.st_mode):
                if found is None and stat.S_ISLNK(status.st_mode):
                    return os.readlink(path, dir_fd=layer)
                break
            merged.append(index)
            xattrs = _xattrs(path, layer)
            opaque = xattrs.pop(OPAQUE, None) == b"y"
            found = found or Folder(status, xattrs)
            if opaque:
                break
        self._merged[path] = tuple(merged)
        return found

    def hide(self, path: bytes) -> None:
        """The archive has made the directory ``path`` opaque (b"": the root): nothing is found in it any more."""
        self._opaque.add(path)

    def is_hidden(self, path: bytes) -> bool:
        """Whether a directory above ``path`` is opaque."""
        while path and self._opaque:
            path = path.rpartition(b"/")[0]
            if path in self._opaque:
                return True
        return False

    def root(self) -> Folder | None:
        """The topmost layer's root directory."""
        if not self._layers:
            return None
        self._look()
        return Folder(os.stat(self._layers[0]), _xattrs(b".", self._layers[0]))

    def names(self) -> set[bytes]:
        """The names in the root directories of all layers."""
        self._look()
        found: set[bytes] = set()
        for layer in self._layers:
            folder = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=layer)
            try:
                found.update(map(os.fsencode, os.listdir(folder)))
            finally:
                os.close(folder)
        return found

    def _look(self) -> None:
        if not self._whole:
            self._wait()
            self._whole = True

    def _parents(self, path: bytes) -> tuple[int, ...]:
        if self.is_hidden(path):
            return ()
        parent = path.rpartition(b"/")[0]
        if parent not in self._merged:
            self.find(parent)
        return self._merged.get(parent, ())


def _xattrs(path: bytes, layer: int) -> dict[bytes, bytes]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=layer)
    try:
        names = [name for name in os.listxattr(folder) if os.fsencode(name) not in HOSTS_OWN]
        return {os.fsencode(name): os.getxattr(folder, name) for name in names}
    finally:
        os.close(folder)
