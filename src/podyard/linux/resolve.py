"""Opening a file by a path that somebody else wrote, without leaving a directory (openat2(2), RESOLVE_IN_ROOT).

Links in the tree are followed as a process would see them whose root is that directory: an absolute one starts there,
and ".." stops there. The kernel does it in one step, so nobody can swap a directory for a link in between.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from podyard.linux import libc

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

ATTEMPTS = 100
"""How often a path is resolved anew: the kernel answers EAGAIN when a rename went on while it looked at a ".."."""


def open_in_root(root: Path | int, path: str, flags: int, mode: int = 0) -> int:
    """Open ``path`` as if ``root`` were "/"; the descriptor is the caller's to close.

    ``root``: a directory, or a descriptor of one, which saves its lookup when many paths are opened. ``path``: absolute
    or not, that makes no difference. ``flags``: of open(2); the descriptor is never inherited. ``mode``: permissions of
    a file that O_CREAT makes (the umask applies).

    Raises OSError: FileNotFoundError, NotADirectoryError, ELOOP for too many links or one of /proc's own, EINVAL for a
    NUL in the path, ENOSYS on a kernel before 5.6.
    """
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path cannot hold a NUL", path)
    if isinstance(root, int):
        return _open(root, path, flags, mode)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open(directory, path, flags, mode)
    finally:
        os.close(directory)


def _open(directory: int, path: str, flags: int, mode: int) -> int:
    wanted = flags | os.O_CLOEXEC
    for _ in range(ATTEMPTS):
        try:
            return libc.openat2(directory, path, wanted, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, "the directory tree does not stop changing", path)
