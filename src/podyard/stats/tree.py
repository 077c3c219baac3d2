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
"""Files that are looked at: a bound for the time (some seconds) and the memory that one tree can take."""

PIECE = 2000
"""Characters of a path that are opened at once: the kernel takes 4095 bytes, and a name has up to 255."""

_Node = tuple["_Node | None", str]
"""A directory: the one that it is in, and its name. A tree can be deeper than any path is long."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def measure(folder: Path) -> Disk:
    """Bytes and inodes of a tree, its root included, without following links. Blocks: call it in a thread.

    A tree of more than LIMIT files is measured up to that many. Raises OSError where it cannot be read.
    """
    timestamp = time.time_ns()
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        own = os.fstat(root)
        blocks, inodes = own.st_blocks, 1
        linked: set[int] = set()
        pending: list[_Node | None] = [None]
        while pending:
            node = pending.pop()
            try:
                directory = _open(root, node)
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                            if status.st_ino in linked:
                                continue
                            linked.add(status.st_ino)
                        blocks += status.st_blocks
                        inodes += 1
                        if inodes >= LIMIT:
                            logger.warning(
                                "%s has more than %d files: its size is that of the first ones", folder, LIMIT
                            )
                            return Disk(blocks * 512, inodes, timestamp)
                        if stat.S_ISDIR(status.st_mode):
                            pending.append((node, entry.name))
            finally:
                os.close(directory)
        return Disk(blocks * 512, inodes, timestamp)
    finally:
        os.close(root)


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
