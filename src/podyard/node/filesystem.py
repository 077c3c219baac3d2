"""What a file system has left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """Bytes and inodes."""

    capacity: int
    available: int
    inodes: int
    inodes_free: int
    device: int = 0
    """The number of its device: the same for two paths on one file system."""


def file_system(path: Path) -> FileSystem:
    """The file system that ``path`` is or would be on; some have no fixed number of inodes: 0 of 0. For a thread.

    Raises OSError.
    """
    while not path.exists():
        path = path.parent
    state = os.statvfs(path)
    return FileSystem(
        capacity=state.f_blocks * state.f_frsize,
        available=state.f_bavail * state.f_frsize,
        inodes=state.f_files,
        inodes_free=state.f_favail,
        device=path.stat().st_dev,
    )
