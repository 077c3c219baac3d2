"""A tar archive from a container, put below a directory of this host. All of it blocks: for a thread.

Whatever the archive says, nothing outside the directory is made, changed or read: names are taken apart, every part is
opened relative to the one before, and no link is followed, neither one of the archive nor one that was there. Devices
and the like are left out, and so are owners, set-user-id bits and other special modes.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podyard.cli.output import printable
from podyard.errors import DataLoss, FailedPrecondition

HEADER_LIMIT = 1 << 20
"""Bytes of an extended header: a long name, attributes."""
CHUNK = 64 << 10
LATEST = (1 << 63) - 1
"""Nanoseconds since 1970 that the kernel takes."""

_EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Place = Callable[[list[str]], list[str]]


class _Member(tarfile.TarInfo):
    """A header whose extensions are of bounded size: the library reads them into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _EXTENDED and member.size > HEADER_LIMIT):
            raise DataLoss(f"the archive has a header or a file of {member.size} bytes: it is damaged")
        return member


def unpack(descriptor: int, folder: Path, place: Place) -> list[str]:
    """Unpack what a descriptor gives, to its end, below ``folder``, which is there, and close it; what was left out.

    ``place`` turns a member's name, in parts, into the one that it gets here ([] for ``folder`` itself), and raises
    DataLoss for one that was not asked for. Raises DataLoss for an archive that is damaged or names what lies outside,
    FailedPrecondition when something of another kind or a link is in the way, OSError.
    """
    with os.fdopen(descriptor, "rb") as file:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                with tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
                    unpacking = _Unpacking(archive, root, place)
                    unpacking.run()
            except tarfile.TarError as error:
                raise DataLoss(f"the archive from the container is damaged: {error}") from error
            while file.read(CHUNK):
                pass  # what pads an archive's end; its writer is not to see a broken pipe
        finally:
            os.close(root)
    return unpacking.left_out


class _Unpacking:
    def __init__(self, archive: tarfile.TarFile, root: int, place: Place) -> None:
        self._archive = archive
        self._root = root
        self._place = place
        self._directories: list[tuple[list[str], tarfile.TarInfo]] = []
        self.left_out: list[str] = []

    def run(self) -> None:
        while (member := self._archive.next()) is not None:
            parts = self._place(_parts(member.name))
            try:
                self._make(member, parts)
            except (IsADirectoryError, NotADirectoryError, FileExistsError, FileNotFoundError) as error:
                raise FailedPrecondition(
                    f"cannot write {_shown(parts)}: {error.strerror}; something of another kind is in the way"
                ) from error
            self._archive.members.clear()  # type: ignore[attr-defined]  # it would remember every file
        # Last, the innermost first: a directory may be read-only, and what is put in it changes its time.
        for parts, member in reversed(self._directories):
            with self._parent(parts) as parent:
                directory = os.open(parts[-1], _DIRECTORY, dir_fd=parent)
            try:
                _set_attributes(directory, member)
            finally:
                os.close(directory)

    def _make(self, member: tarfile.TarInfo, parts: list[str]) -> None:
        if member.isdir():
            self._make_directory(member, parts)
        elif not parts:
            raise DataLoss("the archive has something else than a directory where one was asked for")
        elif member.isreg():
            self._make_file(member, parts)
        elif member.issym():
            with self._cleared(parts) as parent:
                os.symlink(member.linkname, parts[-1], dir_fd=parent)
        elif member.islnk():
            self._make_hard_link(member, parts)
        else:
            self.left_out.append(f"{_shown(parts)} is neither file, directory nor link: left out")

    def _make_directory(self, member: tarfile.TarInfo, parts: list[str]) -> None:
        if not parts:
            return
        with self._parent(parts) as parent:
            try:
                os.mkdir(parts[-1], 0o700, dir_fd=parent)
            except FileExistsError:
                found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    raise
            else:
                self._directories.append((parts, member))

    def _make_file(self, member: tarfile.TarInfo, parts: list[str]) -> None:
        content = self._archive.extractfile(member)
        assert content is not None
        with self._cleared(parts) as parent:
            descriptor = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(content, file, CHUNK)
            file.flush()
            _set_attributes(descriptor, member)

    def _make_hard_link(self, member: tarfile.TarInfo, parts: list[str]) -> None:
        source = self._place(_parts(member.linkname))
        if not source:
            raise DataLoss(f"the archive links {_shown(parts)} to a directory: it is damaged")
        if source == parts:
            return
        with self._parent(source) as origin, self._cleared(parts) as parent:
            os.link(source[-1], parts[-1], src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)

    @contextmanager
    def _cleared(self, parts: list[str]) -> Iterator[int]:
        """The directory that something is to be made in, without what went by its name there."""
        with self._parent(parts) as parent:
            with suppress(FileNotFoundError):
                os.unlink(parts[-1], dir_fd=parent)
            yield parent

    @contextmanager
    def _parent(self, parts: list[str]) -> Iterator[int]:
        """The directory that holds ``parts``; those that are missing on the way are made."""
        current = os.dup(self._root)
        try:
            for part in parts[:-1]:
                below = _enter(current, part)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


def _enter(parent: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o777, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts:
        raise DataLoss(f"the archive names {printable(name)!r}, which lies outside what was asked for")
    return parts


def _set_attributes(descriptor: int, member: tarfile.TarInfo) -> None:
    os.fchmod(descriptor, member.mode & 0o777)
    if math.isfinite(member.mtime):
        nanoseconds = max(0, min(int(member.mtime * 1_000_000_000), LATEST))
        os.utime(descriptor, ns=(nanoseconds, nanoseconds))


def _shown(parts: list[str]) -> str:
    return printable("/".join(parts))
