"""The size of a directory tree that a container writes: hostile in its shape, and changing while it is measured."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from pathlib import Path

from podyard.linux.resolve import open_in_root
from podyard.stats.usage import Disk

logger = logging.getLogger(__name__)

LIMIT = 2_000_000
"""Files that are looked at: a bound for the memory that one tree can take."""

PATIENCE = 60.0
"""Seconds after which no further directory is opened: a deep tree takes long."""

PIECE = 2000
"""Characters of a path that are opened at once: the kernel takes 4095 bytes, and a name has up to 255."""

_Node = tuple["_Node | None", str]
"""A directory: the one that it is in, and its name. A tree can be deeper than any path is long."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def measure(folder: Path) -> Disk:
    """Bytes and inodes of a tree, its root included, without following links. Blocks: call it in a thread.

    A tree that is too large is measured up to a part: LIMIT files, PATIENCE seconds. Raises OSError where it cannot be
    read.
    """
    timestamp, deadline = time.time_ns(), time.monotonic() + PATIENCE
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        count = _Count(root)
        pending: list[_Node | None] = [None]
        while pending and count.inodes < LIMIT:
            node = pending.pop()
            try:
                directory = _open(root, node)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            try:
                pending.extend((node, name) for name in count.entries(directory))
            finally:
                os.close(directory)
            if time.monotonic() > deadline:
                break
    finally:
        os.close(root)
    if pending or count.inodes >= LIMIT:
        logger.warning("%s is too large to be measured: %d of its files were counted", folder, count.inodes)
    return Disk(count.blocks * 512, count.inodes, timestamp)


class _Count:
    """What was found so far; it begins with the tree's root."""

    def __init__(self, root: int) -> None:
        self.blocks = os.fstat(root).st_blocks
        self.inodes = 1
        self._linked: set[int] = set()

    def entries(self, directory: int) -> list[str]:
        """Count what is in a directory; the names of the directories in it."""
        below = []
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    below.append(entry.name)
                elif status.st_nlink > 1:
                    if status.st_ino in self._linked:
                        continue
                    self._linked.add(status.st_ino)
                self.blocks += status.st_blocks
                self.inodes += 1
                if self.inodes >= LIMIT:
                    break
        return below


def _open(root: int, node: _Node | None) -> int:
    """Open a directory of the tree: links that somebody has put in the way since lead no further than the root."""
    names: list[str] = []
    while node is not None:
        node, name = node
        names.append(name)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    while names:
        piece = names.pop()
        while names and len(piece) < PIECE:
            piece = f"{piece}/{names.pop()}"
        try:
            below = open_in_root(directory, piece, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        finally:
            os.close(directory)
        directory = below
    return directory
