"""A volume's files, exchanged all at once, as kubelets do it and programs in containers expect it.

    volume/..2026_11_24_10_30_00.x1y2z3/key     the files
    volume/..data -> ..2026_11_24_10_30_00.x1y2z3
    volume/key -> ..data/key

A change writes a new directory and renames a new ``..data`` over the old one: whoever reads sees all of one state.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from podyard.manifest.translate import File

DATA = "..data"
_NEXT = "..data_tmp"
_FOLDER_MODE = 0o755


def write_files(volume: Path, files: Mapping[str, File], group: int | None) -> bool:
    """Make a directory that is there hold exactly these files, by their paths in it. Whether anything changed.

    ``group``: the id of the group that they belong to. Blocks: for a thread. Raises OSError.
    """
    if _read(volume / DATA, group) == {path: _plain(file) for path, file in files.items()}:
        return False
    content = Path(tempfile.mkdtemp(prefix=time.strftime("..%Y_%m_%d_%H_%M_%S."), dir=volume))
    _own_folder(content, group)
    for path, file in sorted(files.items()):
        _write(content, path, file, group)
    _clear(volume / _NEXT)
    (volume / _NEXT).symlink_to(content.name)
    (volume / _NEXT).rename(volume / DATA)
    _link(volume, {path.partition("/")[0] for path in files})
    for entry in volume.iterdir():
        if entry.name.startswith("..") and entry.name not in (DATA, content.name):
            _clear(entry)
    return True


def _plain(file: File) -> tuple[bytes, int, int]:
    return file.content, file.mode, file.uid or 0


def _read(data: Path, group: int | None) -> dict[str, tuple[bytes, int, int]] | None:
    """What is there, in the form of ``_plain``; None where that cannot be what is wanted."""
    if not data.exists():
        return None
    found = {}
    root = data.resolve()
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            state = path.stat()
            if group is not None and state.st_gid != group:
                return None
            found[str(path.relative_to(root))] = (path.read_bytes(), stat.S_IMODE(state.st_mode), state.st_uid)
    return found


def _write(content: Path, path: str, file: File, group: int | None) -> None:
    *folders, name = path.split("/")
    folder = content
    for part in folders:
        folder /= part
        if not folder.is_dir():
            folder.mkdir()
            _own_folder(folder, group)
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(file.content)
        os.fchown(descriptor, -1 if file.uid is None else file.uid, -1 if group is None else group)
        os.fchmod(descriptor, file.mode)


def _own_folder(folder: Path, group: int | None) -> None:
    if group is not None:
        os.chown(folder, -1, group)
    folder.chmod(_FOLDER_MODE if group is None else _FOLDER_MODE | stat.S_ISGID)


def _link(volume: Path, names: set[str]) -> None:
    """Links to what is there; those to what is not any more go."""
    for name in names:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"{DATA}/{name}")
    for entry in volume.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            _clear(entry)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
