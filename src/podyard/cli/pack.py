"""Files of this host as a tar archive. All of it blocks: for a thread."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from podyard.cli.output import printable


def pack(source: Path, name: str, descriptor: int) -> list[str]:
    """Write ``source``, a file or a directory with all in it, to a descriptor, and close it; what was left out.

    ``name``: what it is called in the archive, "" for the contents of a directory alone. Links are packed as links,
    owners are left out: what is unpacked belongs to whoever unpacks. Raises OSError, a BrokenPipeError when nobody
    reads on.
    """
    left_out = []
    # The GNU format: some small implementations of tar skip pax headers, and with them long names.
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path, member in _walk(source, name):
            if not _add(archive, path, member):
                left_out.append(f"{printable(str(path))} is neither file, directory nor link: left out")
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every file
    return left_out


def _walk(source: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Every path and its name in the archive, directories before what is in them; no link is followed."""
    waiting = [(source, name)]
    while waiting:
        path, member = waiting.pop()
        if member:
            yield path, member
        if stat.S_ISDIR(path.lstat().st_mode):
            found = sorted((entry.name for entry in path.iterdir()), reverse=True)
            waiting.extend((path / entry, f"{member}/{entry}" if member else entry) for entry in found)


def _add(archive: tarfile.TarFile, path: Path, member: str) -> bool:
    info = archive.gettarinfo(path, member) if not stat.S_ISSOCK(path.lstat().st_mode) else None
    if info is None or not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
        return False
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    if not info.isreg():
        archive.addfile(info)
        return True
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as content:
        archive.addfile(info, content)
    return True
