"""Directories whose owners and modes are an image's business, not the host's."""

from __future__ import annotations

import os
from pathlib import Path


def disinherit(folder: Path | bytes) -> None:
    """Free a new directory from what it has of the one above it, which all files made in it would get in turn.

    That is the group and its bit of a directory with set-group-ID (mkdir(2)), and default access control lists
    (acl(5)). The directory is root's afterwards, with mode 0755. Raises OSError.
    """
    os.chown(folder, 0, 0)
    os.chmod(folder, 0o755)  # noqa: PTH101  (a name of bytes)
    for name in os.listxattr(folder):
        if name.startswith("system.posix_acl_"):
            os.removexattr(folder, name)
