"""Files by digest, verified while they are written.

Manifests and configurations are kept. A layer's blob is a temporary file that goes once the layer is unpacked: nothing
reads it again, and the disk holds each layer once (as CRI-O does it; containerd keeps both forms).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from podyard.errors import DataLoss

BLOCK = 1 << 20
"""Bytes that are hashed and written at once, in a thread."""


class BlobWriter:
    """Writes one file of a known digest and size, and verifies both.

    A writer can be continued after a cut connection: ``offset`` says how much it has. Without a ``digest`` only the
    size is verified (the layers of docker archives have none but the diffID, which unpacking verifies); with ``size``
    None it is the other way round.

    A context manager: leaving it with an error removes the file, otherwise it stays and belongs to the caller.
    """

    def __init__(self, path: Path, digest: str | None, size: int | None) -> None:
        self.path = path
        self.offset = 0
        self._digest = digest
        self._size = size
        self._hash = self._new_hash()
        self._pending = bytearray()
        # A cancelled writer is closed while its thread may still write.
        self._writing = threading.Lock()
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._writing:
            self._file.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

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
            await asyncio.to_thread(self._store, data)

    def _store(self, data: bytearray) -> None:
        with self._writing, memoryview(data) as view:
            if self._file.closed:
                return
            self._hash.update(view)
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])

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


class ContentStore:
    """The directory of kept files (``blobs/<algorithm>/<hex>``), and of temporary ones (``tmp``)."""

    def __init__(self, folder: Path) -> None:
        self._sizes: dict[str, int] = {}
        self._adding = asyncio.Lock()
        self._blobs = folder / "blobs"
        self._temporary = folder / "tmp"

    def prepare(self, keep: Collection[str]) -> None:
        """Make the directories; remove temporary files and whatever is not in ``keep``."""
        for folder in (self._temporary, self._blobs / "sha256", self._blobs / "sha512"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._temporary.iterdir():
            path.unlink()
        for path in self._blobs.glob("*/*"):
            digest = f"{path.parent.name}:{path.name}"
            if digest in keep:
                self._sizes[digest] = path.stat().st_size
            else:
                path.unlink()

    def writer(self, digest: str | None, size: int | None) -> BlobWriter:
        """A temporary file that is to hold the content of a digest."""
        return BlobWriter(self._temporary / secrets.token_hex(8), digest, size)

    async def add(self, documents: dict[str, bytes]) -> None:
        """Keep small verified files. They are on the disk when it returns. Raises OSError when the disk is full."""
        async with self._adding:
            new = {digest: data for digest, data in documents.items() if digest not in self._sizes}
            await asyncio.to_thread(self._add, new)
            self._sizes.update((digest, len(data)) for digest, data in new.items())

    def read(self, digest: str) -> bytes:
        """A kept file's content. Raises DataLoss when it is missing or damaged."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise DataLoss(f"{digest} is missing from the content store: pull its image again") from None
        check_content(data, digest, "a file of the content store")
        return data

    def sizes(self) -> Mapping[str, int]:
        """The bytes of each kept file, by digest."""
        return self._sizes

    def remove(self, digest: str) -> None:
        """Forget a kept file, if it is there."""
        self._sizes.pop(digest, None)
        self._path(digest).unlink(missing_ok=True)

    def _add(self, documents: dict[str, bytes]) -> None:
        try:
            for digest, data in documents.items():
                temporary = self._temporary / digest.replace(":", "-")
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(self._path(digest))
            for folder in {self._path(digest).parent for digest in documents}:
                sync_folder(folder)
        except OSError:
            for digest in documents:
                (self._temporary / digest.replace(":", "-")).unlink(missing_ok=True)
                self._path(digest).unlink(missing_ok=True)
            raise

    def _path(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._blobs / algorithm / name


def sync_folder(folder: Path) -> None:
    """Make the names in a directory durable (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
