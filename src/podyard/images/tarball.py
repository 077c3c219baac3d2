"""Reads files out of a directory or a tar archive in place: nothing is ever extracted by its name."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podyard.errors import InvalidArgument, NotFound
from podyard.linux.resolve import open_in_root

MEMBERS_LIMIT = 100_000
"""Members of an archive."""
HEADER_LIMIT = 1 << 20
"""Bytes that one member's headers may have."""
LINKS_LIMIT = 8
"""How many links in a row are followed within an archive."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Section:
    """A part of an open file that is one member."""

    descriptor: int
    offset: int
    size: int

    def read(self, position: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``position`` on (pread(2)); b"" at the end."""
        return os.pread(self.descriptor, min(count, self.size - position), self.offset + position)


class Files(Protocol):
    """Regular files by their names."""

    def __contains__(self, name: str) -> bool: ...

    def open(self, name: str) -> contextlib.AbstractContextManager[Section]:
        """Raises NotFound where there is no regular file of that name."""
        ...


class Folder:
    """The files of a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __contains__(self, name: str) -> bool:
        try:
            with self.open(name):
                return True
        except NotFound:
            return False

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Section]:
        """One file; neither its name nor a link leads out of the directory."""
        try:
            descriptor = open_in_root(self._path, name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise NotFound(f"{self._path} has no readable file {name[:200]!r}: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotFound(f"{name[:200]!r} in {self._path} is no regular file")
            yield Section(descriptor, 0, status.st_size)
        finally:
            os.close(descriptor)


class Tarball:
    """The regular files of an uncompressed tar archive, and links to them."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, path: Path) -> AsyncIterator[Tarball]:
        """The archive, its headers read. Raises InvalidArgument when it is none or exceeds a limit."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            tarball = cls(path, descriptor)
            await asyncio.to_thread(tarball._index)
            yield tarball
        finally:
            os.close(descriptor)

    def __contains__(self, name: str) -> bool:
        return self._resolve(name) in self._files

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Section]:
        """One file; a link is followed within the archive."""
        try:
            offset, size = self._files[self._resolve(name)]
        except KeyError:
            raise NotFound(f"{self._path} has no file {name[:200]!r}") from None
        yield Section(self._descriptor, offset, size)

    def _resolve(self, name: str) -> str:
        name = _clean(name)
        for _ in range(LINKS_LIMIT):
            if name not in self._links:
                break
            name = self._links[name]
        return name

    def _index(self) -> None:
        size = os.fstat(self._descriptor).st_size
        with io.FileIO(self._descriptor, closefd=False) as raw, _Reader(raw) as reader:
            try:
                with tarfile.open(fileobj=reader, mode="r:", errorlevel=2) as archive:
                    for count, member in enumerate(archive):
                        if count >= MEMBERS_LIMIT:
                            raise InvalidArgument(f"{self._path} has more than {MEMBERS_LIMIT} members")
                        self._note(member, size)
            except (tarfile.TarError, EOFError, OverflowError, ValueError, RecursionError) as error:
                raise InvalidArgument(f"{self._path} is no whole tar archive: {error}") from error

    def _note(self, member: tarfile.TarInfo, archive_size: int) -> None:
        name = _clean(member.name)
        self._files.pop(name, None)
        self._links.pop(name, None)
        if member.issym():
            self._links[name] = _clean(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.islnk():
            self._links[name] = _clean(member.linkname)
        elif member.isreg() and not member.issparse():
            if member.offset_data + member.size > archive_size:
                raise InvalidArgument(f"{self._path} is cut short in {name[:200]!r}")
            self._files[name] = (member.offset_data, member.size)


class _Reader(io.BufferedReader):
    """Refuses what only a hostile archive asks for: tarfile reads a member's extended headers in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > HEADER_LIMIT:
            raise InvalidArgument(f"a member of the archive has headers of more than {HEADER_LIMIT} bytes")
        return super().read(size)


def _clean(name: str) -> str:
    return posixpath.normpath(f"/{name}").lstrip("/")
