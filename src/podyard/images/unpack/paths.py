"""Where a member's name leads inside the root.

The process has its root directory where the layer is unpacked, so the kernel keeps every path inside. Here each name is
made canonical besides: the directories of the result are directories, never links. What is known of one stays known
until it is removed, and no file is ever written through a link that the archive did not mean as its parent.
"""

# Names are bytes that need not be text, and a Path for each would cost a third of the speed.
# ruff: noqa: PTH115

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from podyard.errors import InvalidArgument, NotFound
from podyard.images.unpack.below import Below, Folder
from podyard.images.unpack.limits import Limits

_LINKS_LIMIT = 40  # as in the kernel (path_resolution(7))
WHITEOUT_PREFIX = b".wh."


def shown(name: bytes) -> str:
    """A name for a message: printable, bounded, in quotes."""
    text = repr(name[:200].decode("utf-8", "backslashreplace"))
    return f"{text}…" if len(name) > 200 else text


def clean(name: bytes, limits: Limits) -> bytes:
    """A member's name relative to the root, without ".", ".." and empty parts; b"" is the root itself.

    Raises InvalidArgument for a name that is empty, too long, or leaves the root by "..".
    """
    if not name or len(name) > limits.path:
        raise InvalidArgument(
            f"the layer's entry {shown(name)} has a name of {len(name)} bytes: 1 to {limits.path} may be"
        )
    if name[:2] == b"./":
        name = name[2:]
    name = name.strip(b"/")
    if b"/." not in name and b"//" not in name and name[:1] != b".":
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidArgument(
                    f"the layer's entry {shown(name)} leaves the root directory; the image is hostile or broken"
                )
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)


class Paths:
    """The directories of the root. ``make`` makes a directory that the archive left out.

    ``make`` is called with its canonical path, what the layers below have there, and whether a whiteout stood there.
    """

    def __init__(self, below: Below, limits: Limits, make: Callable[[bytes, Folder | None, bool], None]) -> None:
        self._below = below
        self._limits = limits
        self._make = make
        self._folders: set[bytes] = set()
        self._parents: dict[bytes, bytes] = {b"": b""}
        # Where links of the layers below were followed, which this layer may yet hide.
        self._followed: set[bytes] = set()

    def place(self, name: bytes) -> bytes:
        """The canonical path of a clean name whose parent directories are made where they are missing.

        The last part is not resolved: it may be a link.

        Raises InvalidArgument when a parent is not a directory, or links lead in a circle.
        """
        parent, _, last = name.rpartition(b"/")
        folder = self._parents.get(parent)
        if folder is None:
            folder = self._parents[parent] = self._resolve(parent, make=True)
        path = folder + b"/" + last if folder else last
        if path in self._followed:
            self.removed()
        return path

    def existing(self, name: bytes) -> bytes:
        """As ``place``, but nothing is made. Raises NotFound when a parent directory is missing."""
        parent, _, last = name.rpartition(b"/")
        folder = self._parents.get(parent)
        if folder is None:
            folder = self._resolve(parent, make=False)
        return folder + b"/" + last if folder else last

    def made(self, path: bytes) -> None:
        """A directory was made at a canonical path."""
        self._folders.add(path)

    def removed(self) -> None:
        """A directory or a link was removed: what was known may be wrong now."""
        self._folders.clear()
        self._followed.clear()
        self._parents = {b"": b""}

    def hidden(self) -> None:
        """A directory has become opaque: links that were followed may be hidden now."""
        if self._followed:
            self.removed()

    def _resolve(self, name: bytes, *, make: bool) -> bytes:
        todo = name.split(b"/")[::-1]
        at = b""
        links = 0
        while todo:
            part = todo.pop()
            if part in {b"", b"."}:
                continue
            if part == b"..":
                at = at.rpartition(b"/")[0]
                continue
            here = at + b"/" + part if at else part
            if here.count(b"/") >= self._limits.depth:
                raise InvalidArgument(
                    f"the layer's entry below {shown(name)} has more than {self._limits.depth} directories above it"
                )
            target = None if here in self._folders else self._step(name, here, make=make)
            if target is None:
                at = here
                continue
            links += 1
            if links > _LINKS_LIMIT or len(target) + len(name) > 2 * self._limits.path:
                raise InvalidArgument(f"the layer's entry below {shown(name)} leads through too many symbolic links")
            if target.startswith(b"/"):
                at = b""
            todo.extend(target.split(b"/")[::-1])
        return at

    def _step(self, name: bytes, here: bytes, *, make: bool) -> bytes | None:
        """Know ``here`` for a directory, and None; or the target of the link that it is."""
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            status = None
        whiteout = status is not None and is_whiteout(status)
        if status is None or whiteout:
            below = None if whiteout else self._below.find(here)
            if isinstance(below, bytes):
                self._followed.add(here)
                return below
            if not make:
                raise NotFound(f"there is no directory {shown(here)}")
            if here.rpartition(b"/")[2].startswith(WHITEOUT_PREFIX):
                raise InvalidArgument(f"the layer has entries below {shown(here)}, which is the name of a whiteout")
            self._make(here, below, whiteout)
        elif stat.S_ISLNK(status.st_mode):
            return os.readlink(here)
        elif not stat.S_ISDIR(status.st_mode):
            raise InvalidArgument(f"the layer has entries below {shown(name)}, but {shown(here)} is not a directory")
        self._folders.add(here)
        return None


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file hides what the layers below have (kernel documentation, overlayfs, "whiteouts")."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
