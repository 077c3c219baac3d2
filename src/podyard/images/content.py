"""Files by digest, verified while they are written.

Manifests and configurations are kept. A layer's blob goes once the layer is unpacked: nothing reads it again, and the
disk holds each layer once (as CRI-O does it; containerd keeps both forms). Until then it is a part, under its digest:
what a failed or killed pull has of it is continued by the next one.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from podyard.errors import DataLoss, ResourceExhausted
from podyard.model.reference import is_digest

BLOCK = 1 << 20
"""Bytes that are hashed and written at once, in a thread."""
SMALL = 64 << 10
"""Bytes for which a thread takes longer than the work."""
UNREADABLE = {errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.EISDIR}
"""What a damaged disk or file system says of a file, or one that has become something else."""


class BlobWriter:
    """Writes one file of a known digest and size, and verifies both.

    A writer can be continued after a cut connection: ``offset`` says how much it has. Without a ``digest`` only the
    size is verified (the layers of docker archives have none but the diffID, which unpacking verifies); with ``size``
    None it is the other way round.

    A context manager: after ``finish`` the file belongs to the caller. Leaving it otherwise removes the file, unless
    ``part`` says that it is of use later, and it is not known to be wrong, nor the disk full.
    """

    def __init__(self, path: Path, digest: str | None, size: int | None, *, part: bool = False) -> None:
        self.path = path
        self.offset = 0
        self.resumed = False
        """Whether its beginning is from an earlier pull."""
        self._digest = digest
        self._size = size
        self._part = part
        self._hash = self._new_hash()
        self._pending = bytearray()
        # A cancelled writer is closed while its thread may still write.
        self._writing = threading.Lock()
        self._file = open(path, "r+b" if part and path.exists() else "x+b", buffering=0)  # noqa: SIM115  (__exit__)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        useless = not self._part or isinstance(error, DataLoss | ResourceExhausted | OSError)
        with self._writing:
            if kind is not None and not useless:
                useless = not self._save()
            self._file.close()
        if kind is not None and useless:
            self.path.unlink(missing_ok=True)

    async def resume(self) -> None:
        """Take up what an earlier pull has left. It is verified with the rest, by ``finish``."""
        size = os.fstat(self._file.fileno()).st_size
        if size == 0:
            return
        if self._size is not None and size > self._size:
            await self.restart()
            return
        while data := await asyncio.to_thread(self._file.read, BLOCK):
            await asyncio.to_thread(self._hash.update, data)
            self.offset += len(data)
        self.resumed = self.offset > 0

    async def write(self, data: bytes) -> None:
        """Append. Raises DataLoss as soon as there is more than the size, OSError when the disk is full."""
        self.offset += len(data)
        if self._size is not None and self.offset > self._size:
            raise DataLoss(f"{self._digest} is longer than the {self._size} bytes that its manifest says")
        self._pending += data
        if len(self._pending) >= BLOCK:
            await self._flush()

    async def restart(self) -> None:
        """Forget what was written: the source cannot continue where it was cut."""
        self._pending.clear()
        self._file.seek(0)
        self._file.truncate()
        self._hash = self._new_hash()
        self.offset = 0
        self.resumed = False

    async def finish(self) -> None:
        """The content is complete. Raises DataLoss, naming both digests, when it is not what it should be."""
        await self._flush()
        if self._size is not None and self.offset != self._size:
            raise DataLoss(f"{self._digest} has {self.offset} bytes, its manifest says {self._size}")
        if self._digest is not None:
            check_digest(self._digest, f"{self._hash.name}:{self._hash.hexdigest()}", "a layer")

    async def _flush(self) -> None:
        if self._pending:
            data, self._pending = self._pending, bytearray()
            if len(data) <= SMALL:
                self._store(data)
            else:
                await asyncio.to_thread(self._store, data)

    def _store(self, data: bytearray) -> None:
        with self._writing, memoryview(data) as view:
            if self._file.closed:
                return
            self._hash.update(view)
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])

    def _save(self) -> bool:
        """Write what was received but not written; False when there is nothing at all, or the disk is full."""
        try:
            with memoryview(self._pending) as view:
                done = 0
                while done < len(view):
                    done += self._file.write(view[done:])
        except OSError:
            return False
        return self.offset > 0

    def _new_hash(self) -> hashlib._Hash:
        return hashlib.new(self._digest.partition(":")[0] if self._digest else "sha256")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of ``data``."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def check_digest(expected: str, found: str, what: str) -> None:
    """Raise DataLoss, naming both digests, when they differ."""
    if found != expected:
        raise DataLoss(f"{what} should have the digest {expected} but has {found}: it was damaged or replaced")


def check_content(data: bytes, expected: str, what: str) -> None:
    """Raise DataLoss, naming both digests, when ``data`` is not what ``expected`` says."""
    check_digest(expected, digest_of(data, expected.partition(":")[0]), what)


@dataclass(frozen=True)
class Part:
    """A blob that no image has used yet, whole or not. ``size``: bytes on the disk; ``changed``: ns since 1970."""

    digest: str
    size: int
    changed: int
    path: Path


class ContentStore:
    """The directory of kept files (``blobs/<algorithm>/<hex>``), of parts and of temporary files (``tmp``)."""

    def __init__(self, folder: Path) -> None:
        self._sizes: dict[str, int] = {}
        self._disk: dict[str, int] = {}
        self._adding = asyncio.Lock()
        self._blobs = folder / "blobs"
        self._parts = folder / "parts"
        self._temporary = folder / "tmp"
        self._writing: set[Path] = set()

    def prepare(self, keep: Collection[str]) -> None:
        """Make the directories; remove temporary files and whatever is not in ``keep``. Parts stay."""
        for folder in (self._temporary, self._parts, self._blobs / "sha256", self._blobs / "sha512"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._blobs.glob("*/*"):
            digest = f"{path.parent.name}:{path.name}"
            if digest in keep and _is_file(path):
                self._measure(digest)
        for path in self.strays():
            _remove(path)

    @contextmanager
    def writer(self, digest: str | None, size: int | None) -> Iterator[BlobWriter]:
        """A file that is to hold the content of a digest: a part, which may have been begun. Call ``resume`` first.

        Without a digest, and where another writes the same, it is a temporary file.
        """
        path = self._parts / digest.replace(":", "-") if digest else None
        part = path is not None and path not in self._writing
        if path is None or not part:
            path = self._temporary / secrets.token_hex(8)
        self._writing.add(path)
        try:
            with BlobWriter(path, digest, size, part=part) as writer:
                yield writer
        finally:
            self._writing.discard(path)

    def is_part(self, path: Path) -> bool:
        """Whether a later pull would take up this file."""
        return path.parent == self._parts

    def parts(self) -> list[Part]:
        """What failed pulls have left for the next ones."""
        found = []
        for path in self._parts.iterdir():
            if _is_part(path):
                status = path.stat()
                found.append(Part(_digest_of_part(path), status.st_blocks * 512, status.st_mtime_ns, path))
        return found

    async def add(self, documents: Mapping[str, bytes], *, again: bool = False) -> None:
        """Keep small verified files. They are on the disk when it returns. ``again``: write those that are here, too.

        Raises OSError when the disk is full.
        """
        async with self._adding:
            new = {digest: data for digest, data in documents.items() if again or digest not in self._sizes}
            files = {path for digest in new for path in (self._path(digest), self._draft(digest))}
            self._writing |= files
            try:
                await asyncio.to_thread(self._add, new)
                for digest in new:
                    self._measure(digest)
            finally:
                self._writing -= files

    def read(self, digest: str) -> bytes:
        """A kept file's content. Raises DataLoss when it is missing or damaged, or the disk cannot give it any more."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise DataLoss(f"{digest} is missing from the content store: pull its image again") from None
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            raise DataLoss(f"{digest} of the content store cannot be read: {error.strerror}") from error
        check_content(data, digest, "a file of the content store")
        return data

    def writing(self) -> set[Path]:
        """Files that are being written."""
        return set(self._writing)

    def strays(self) -> list[Path]:
        """Files and directories that nothing knows: they go at the next start, or with ``podyard gc``."""
        known = {self._path(digest) for digest in self._sizes} | self._writing
        found = [*self._blobs.glob("*/*"), *self._temporary.iterdir()]
        found += [path for path in self._parts.iterdir() if not _is_part(path)]
        return [path for path in found if path not in known]

    def sizes(self) -> Mapping[str, int]:
        """The bytes of each kept file, by digest."""
        return self._sizes

    def disk(self) -> int:
        """The bytes of blocks that all kept files take on the disk."""
        return sum(self._disk.values())

    def remove(self, digest: str) -> None:
        """Forget a kept file, if it is there."""
        self._sizes.pop(digest, None)
        self._disk.pop(digest, None)
        self._path(digest).unlink(missing_ok=True)

    def _add(self, documents: Mapping[str, bytes]) -> None:
        try:
            for digest, data in documents.items():
                draft = self._draft(digest)
                with open(draft, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(self._path(digest))
            for folder in {self._path(digest).parent for digest in documents}:
                sync_folder(folder)
        except OSError:
            for digest in documents:
                self._draft(digest).unlink(missing_ok=True)
                if digest not in self._sizes:
                    self._path(digest).unlink(missing_ok=True)
            raise

    def _measure(self, digest: str) -> None:
        status = self._path(digest).stat()
        self._sizes[digest], self._disk[digest] = status.st_size, 512 * status.st_blocks

    def _path(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._blobs / algorithm / name

    def _draft(self, digest: str) -> Path:
        return self._temporary / digest.replace(":", "-")


def _is_file(path: Path) -> bool:
    """Whether it is a regular file, and no link to one."""
    return stat.S_ISREG(path.lstat().st_mode)


def _is_part(path: Path) -> bool:
    """Whether it can be what a pull has left, by its name and by what it is."""
    return is_digest(_digest_of_part(path)) and _is_file(path)


def _digest_of_part(path: Path) -> str:
    return path.name.replace("-", ":")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a directory durable (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
