"""What is kept of an unpacked layer's archive: all that its tree does not hold, and how the tree must look.

With the record the archive can be made again out of the tree, to the bit. So a layer can be verified against the digest
that its image's configuration has for it, and be written into an archive, though its blob was not kept.

The file is one zstd stream of: the magic line; pieces of the archive, each either bytes (headers, padding) or a stretch
of a file in the tree; the end of the archive; and the listing of the tree. Numbers are little-endian.
"""

# Names are bytes that need not be text, and a Path for each would cost a third of the speed.
# ruff: noqa: PTH115

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from podyard.errors import DataLoss
from podyard.images.unpack.below import HOSTS_OWN

MAGIC = b"podyard layer record 1\n"
OPENED = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
"""How a record is opened that is to be written."""

_BYTES = struct.Struct("<cI")
_STRETCH = struct.Struct("<cHQQ")
_RAW, _FILE, _END, _LISTING, _LOST = b"r", b"f", b"e", b"l", b"x"
_GATHERED = 256 << 10
_PIECE_LIMIT = 1 << 30
_LEVEL = 1

_TYPE = 0o170000


class Stretch(NamedTuple):
    """A part of a file in the tree that is a part of the archive."""

    path: bytes
    start: int
    length: int


class Entry(NamedTuple):
    """How one name in the tree must look. ``link``: a symbolic link's target, or the first name of a hard link."""

    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    device: int
    link: bytes
    xattrs: bytes


class Recorder:
    """Writes a record while its layer is unpacked, to a descriptor that is open for writing."""

    def __init__(self, file: int) -> None:
        zstd = _zstd()
        self._file = file
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)
        self._finish = zstd.ZstdCompressor.FLUSH_FRAME
        self._hash = hashlib.sha256()
        self._stretches: deque[tuple[int, Stretch]] = deque()
        self._bytes: list[bytes] = []
        self._size = 0
        self._out: list[bytes] = [MAGIC]
        self._lost = False
        self.disk = 0
        """Bytes of blocks that the tree takes on the disk; known after ``finish``."""

    def content(self, offset: int, stretch: Stretch) -> None:
        """From ``offset`` of the archive on follows what now goes into a file."""
        self._stretches.append((offset, stretch))

    def lose(self) -> None:
        """A file was replaced by another of the same archive: the archive cannot be made again."""
        self._lost = True

    def passed(self, view: memoryview, before: int) -> None:
        """A chunk of the archive, which begins at ``before``, has been read; its stretches were announced."""
        at, end = before, before + len(view)
        while at < end:
            if not self._stretches:
                self._raw(view[at - before :])
                return
            start, stretch = self._stretches[0]
            if start >= end:
                self._raw(view[at - before :])
                return
            if start > at:
                self._raw(view[at - before : start - before])
            if start >= before:
                self._flush_bytes()
                self._out.append(_STRETCH.pack(_FILE, len(stretch.path), stretch.start, stretch.length))
                self._out.append(stretch.path)
            stop = start + stretch.length
            at = min(stop, end)
            if stop <= end:
                self._stretches.popleft()

    def finish(self, attributes: bool = True) -> str:
        """Write the listing of the working directory's tree, and the end; the digest of the record.

        ``attributes``: whether anything in the tree may have extended attributes.
        """
        self._flush_bytes()
        self._out.append(_BYTES.pack(_LOST if self._lost else _END, 0))
        listing = b"".join(_packed(*item) for item in walk(attributes, self._count))
        self._out.append(_BYTES.pack(_LISTING, len(listing)))
        self._out.append(listing)
        self._write(self._compressor.compress(b"".join(self._out), self._finish))
        return f"sha256:{self._hash.hexdigest()}"

    def _count(self, status: os.stat_result) -> None:
        self.disk += 512 * status.st_blocks

    def _raw(self, view: memoryview) -> None:
        self._bytes.append(bytes(view))
        self._size += len(view)
        if self._size >= _GATHERED:
            self._flush_bytes()
            self._write(self._compressor.compress(b"".join(self._out)))
            self._out.clear()

    def _flush_bytes(self) -> None:
        if self._bytes:
            self._out.append(_BYTES.pack(_RAW, self._size))
            self._out += self._bytes
            self._bytes.clear()
            self._size = 0

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


class Record:
    """Reads a record. Raises DataLoss where it is damaged."""

    def __init__(self, file: int) -> None:
        self._zstd = _zstd()
        self._file = file
        self._decompressor = self._zstd.ZstdDecompressor()
        self._buffer = bytearray()
        self.lost = False
        """Known after ``pieces``: whether the archive cannot be made again."""
        if bytes(self._take(len(MAGIC))) != MAGIC:
            raise DataLoss("the layer's record is of another version, or damaged")

    def pieces(self) -> Iterator[bytes | Stretch]:
        """The archive, in order."""
        while True:
            kind = bytes(self._take(1))
            if kind == _FILE:
                _, length, start, size = _STRETCH.unpack(kind + self._take(_STRETCH.size - 1))
                yield Stretch(bytes(self._take(length)), start, size)
                continue
            _, size = _BYTES.unpack(kind + self._take(_BYTES.size - 1))
            if kind == _RAW:
                yield bytes(self._take(size))
                continue
            self.lost = kind == _LOST
            if kind in {_END, _LOST}:
                return
            raise DataLoss("the layer's record is damaged")

    def listing(self) -> dict[bytes, Entry]:
        """How the tree must look; after ``pieces``."""
        kind, size = _BYTES.unpack(bytes(self._take(_BYTES.size)))
        if kind != _LISTING:
            raise DataLoss("the layer's record is damaged: it has no listing")
        fields = iter(bytes(self._take(size)).split(b"\0"))
        entries = {}
        for path in fields:
            if path:
                mode, uid, gid, mtime, size, device = (int(next(fields)) for _ in range(6))
                entries[path] = Entry(mode, uid, gid, mtime, size, device, next(fields), next(fields))
        return entries

    def _take(self, count: int) -> bytearray:
        if count > _PIECE_LIMIT:
            raise DataLoss("the layer's record is damaged")
        while len(self._buffer) < count:
            data = b""
            if self._decompressor.needs_input:
                data = os.read(self._file, _GATHERED)
                if not data:
                    raise DataLoss("the layer's record is cut short")
            try:
                self._buffer += self._decompressor.decompress(data, _GATHERED)
            except (self._zstd.ZstdError, EOFError) as error:
                raise DataLoss(f"the layer's record is damaged: {error}") from error
        taken = self._buffer[:count]
        del self._buffer[:count]
        return taken


def walk(
    attributes: bool = True, count: Callable[[os.stat_result], None] = lambda _: None
) -> Iterator[tuple[bytes, tuple[int, int, int, int, int, int, bytes, bytes]]]:
    """Each name below the working directory, and the fields of its Entry; b"." is the directory itself.

    ``attributes``: whether to look for extended attributes. ``count`` gets each file once, whatever its names.
    """
    first: dict[int, bytes] = {}
    xattrs = _attributes if attributes else lambda _: b""
    root = os.lstat(b".")
    count(root)
    yield b".", (root.st_mode, root.st_uid, root.st_gid, root.st_mtime_ns, 0, 0, b"", xattrs(b"."))
    folders = [b"."]
    while folders:
        with os.scandir(folders.pop()) as items:
            for item in items:
                path = item.path[2:]
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                size, link = 0, b""
                if mode & _TYPE == stat.S_IFDIR:
                    folders.append(item.path)
                else:
                    if mode & _TYPE == stat.S_IFREG:
                        size = status.st_size
                    if mode & _TYPE == stat.S_IFLNK:
                        link = os.readlink(path)
                    elif status.st_nlink > 1:
                        link = first.setdefault(status.st_ino, path)
                if link in {b"", path} or mode & _TYPE == stat.S_IFLNK:
                    count(status)
                numbers = (mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, status.st_rdev)
                yield path, (*numbers, link, xattrs(path))


def _attributes(path: bytes) -> bytes:
    names = os.listxattr(path, follow_symlinks=False)
    if not names:
        return b""
    return b",".join(
        os.fsencode(name) + b"=" + os.getxattr(path, name, follow_symlinks=False).hex().encode()
        for name in sorted(names)
        if os.fsencode(name) not in HOSTS_OWN
    )


def _packed(path: bytes, fields: tuple[int, int, int, int, int, int, bytes, bytes]) -> bytes:
    return b"%b\0%d\0%d\0%d\0%d\0%d\0%d\0%b\0%b\0" % (path, *fields)


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
