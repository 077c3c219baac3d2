"""Mounts of the host that volumes need, made and taken away by mount(8) and umount(8).

All functions may block: for a thread.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from podyard.errors import DeadlineExceeded, Internal, PermissionDenied

LIMIT = 30.0
"""Seconds for one mount or unmount."""
_MOUNT_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_ROUNDS = 8


def mount_tmpfs(target: Path, size: int | None, mode: int) -> None:
    """Mount memory at ``target``; ``size`` in bytes, None for the kernel's default, half of the memory."""
    options = f"mode={mode:o},nosuid,nodev" + ("" if size is None else f",size={size}")
    _run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)])


def mount_huge_pages(target: Path, page: int, size: int | None, mode: int) -> None:
    """Mount memory in pages of ``page`` bytes at ``target``; ``size`` in bytes, None for no limit."""
    options = f"mode={mode:o},nosuid,nodev,pagesize={page}" + ("" if size is None else f",size={size}")
    _run(["mount", "-t", "hugetlbfs", "-o", options, "hugetlbfs", str(target)])


def bind_descriptor(descriptor: int, target: Path) -> None:
    """Bind-mount what a descriptor stands for, whatever its name leads to by now."""
    # Without --no-canonicalize mount(8) would resolve the descriptor to a path again, and links in it with that.
    command = ["mount", "--no-canonicalize", "--bind", f"/proc/self/fd/{descriptor}", str(target)]
    _run(command, descriptors=(descriptor,))


def remove_tree(path: Path) -> None:
    """Remove a directory, whatever is mounted in it first; never what a link or a mount leads to.

    A path that is not there is fine. Raises Internal when a mount cannot be taken away, PermissionDenied when this user
    may not remove something.
    """
    try:
        if path.is_symlink():
            path.unlink()
            return
        _unmount_below(path)
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise PermissionDenied(f"cannot remove {path}: {error}; Pods are removed by root") from error
    except OSError as error:
        raise Internal(f"cannot remove {path}: {error}") from error


def mounts_below(path: Path) -> list[Path]:
    """Mount points at or below ``path``, those mounted last first (proc(5), mountinfo)."""
    found = []
    for line in _MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mount_point = Path(_ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), line.split(" ")[4]))
        if mount_point == path or path in mount_point.parents:
            found.append(mount_point)
    return found[::-1]


def _unmount_below(path: Path) -> None:
    real = path.resolve()
    for _ in range(_ROUNDS):  # unmounting may lay bare what was hidden
        mounts = mounts_below(real)
        if not mounts:
            return
        for mount_point in mounts:
            _run(["umount", "--no-canonicalize", str(mount_point)])
    raise Internal(f"cannot remove {path}: things are still mounted below it: {mounts_below(real)}")


def _run(command: Sequence[str], descriptors: Sequence[int] = ()) -> None:
    try:
        result = subprocess.run(
            command, pass_fds=descriptors, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"{' '.join(command)} did not end within {LIMIT:.0f} s") from error
    except OSError as error:
        raise Internal(f"cannot run {command[0]}: {error}; install util-linux") from error
    if result.returncode != 0:
        raise Internal(f"{' '.join(command)} failed: {result.stderr.strip() or result.returncode}")
