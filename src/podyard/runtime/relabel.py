"""SELinux labels of what a container mounts (CRI ``Mount.selinux_relabel``). Blocking: it visits every file."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from podyard.errors import InvalidArgument

LABEL = "security.selinux"

KEPT = frozenset(
    map(Path, ("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin"))
) | frozenset(map(Path, ("/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log")))
"""Directories of the whole host: with a container's label, the host's own services could not read them any more."""


def relabel(path: Path, label: str) -> None:
    """Give a file, or a directory with all below it, a label. Links get it themselves, and are not followed.

    A file system without labels is left as it is, and so is a file that goes meanwhile.

    Raises InvalidArgument for a directory that the host needs, OSError when the kernel refuses.
    """
    if path in KEPT:
        raise InvalidArgument(f"selinux_relabel: {path} belongs to the whole host, which could not use it any more")
    for found in (path, *_below(path)):
        try:
            # As libselinux writes it: with its final zero.
            os.setxattr(found, LABEL, label.encode() + b"\0", follow_symlinks=False)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOENT}:
                raise


def _below(path: Path) -> Iterator[Path]:
    with contextlib.suppress(NotADirectoryError):
        for folder, folders, names in os.walk(path):
            for name in (*folders, *names):
                yield Path(folder, name)
