"""Mounting, unmounting, and reading what is mounted."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from podyard.errors import InvalidArgument
from podyard.linux import libc

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

REMOVE_RETRIES = 5
"""How often a removal begins again when somebody else removed a part of it meanwhile."""

OPTIONS_LIMIT = 4095
"""Bytes of options that mount(2) takes: one page with its final zero."""


def mount_overlay(lower: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount an overlay; ``lower`` has the topmost layer first (kernel documentation, overlayfs).

    Raises InvalidArgument when the layers' paths do not fit mount(2)'s page, OSError when the kernel refuses.
    """
    for path in (*lower, upper, work):
        if not fits_overlay(path):
            raise InvalidArgument(f"overlayfs cannot take {path}: its name has a comma, colon or backslash")
    options = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    if len(os.fsencode(options)) > OPTIONS_LIMIT:
        raise InvalidArgument(
            f"an overlay of {len(lower)} layers needs more than the {OPTIONS_LIMIT} bytes of options that mount(2) "
            "takes: use an image with fewer layers, or a shorter root directory"
        )
    libc.mount("overlay", str(target), "overlay", 0, options)


def fits_overlay(path: Path) -> bool:
    """Whether an overlay's options can name a path: there are separators in them, and what escapes these."""
    return not any(char in str(path) for char in ",:\\")


def mount_tmpfs(target: Path, options: str, flags: int = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC) -> None:
    """Mount a tmpfs."""
    libc.mount("tmpfs", str(target), "tmpfs", flags, options)


def bind(source: str, target: Path) -> None:
    """Bind-mount one file or directory."""
    libc.mount(source, str(target), "", libc.MS_BIND, "")


def unmount(target: Path) -> None:
    """Unmount ``target`` as often as something is mounted there. A busy mount is detached: it goes with its last user.

    Nothing mounted there, or no such path, is fine. A link is never followed.
    """
    while True:
        try:
            libc.umount2(str(target), MNT_DETACH | UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
                return
            raise


def mounted_below(folder: Path) -> list[Path]:
    """The mount points at or below ``folder``, the deepest first (proc(5), mountinfo)."""
    found = []
    prefix = f"{folder}/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            point = _unescape(line.split(" ", 5)[4])
            if point == str(folder) or point.startswith(prefix):
                found.append(Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def unmount_below(folder: Path) -> None:
    """Unmount what is mounted at or below a directory of ours, the deepest first."""
    for point in mounted_below(folder):
        unmount(point)


def remove_tree(folder: Path) -> None:
    """Unmount what is mounted below a directory of ours, then remove it. What is not there is fine."""
    unmount_below(folder)
    # A monitor that is just ending takes its own files away, too: then one is missing in the middle.
    for _ in range(REMOVE_RETRIES):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if folder.exists():
                continue
        return
    shutil.rmtree(folder)


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
