"""Images, their names and their layers in the database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec.structs import astuple

from podyard.errors import DataLoss, Internal, ResourceExhausted
from podyard.state.database import Database

_INDEX_STEP = 32768  # bytes by which the index of SQLite's write-ahead log grows


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``images``."""

    id: str
    size: int
    user: str
    layers: tuple[str, ...]
    manifests: tuple[str, ...]
    removed: bool = False
    used_at: int = 0
    """When a container last used it, or it was pulled: nanoseconds since 1970."""


class SnapshotRecord(msgspec.Struct, frozen=True):
    """A row of ``snapshots``."""

    chain_id: str
    folder: int
    size: int
    inodes: int
    made_at: int = 0
    """Nanoseconds since 1970."""
    boot_id: str = ""
    """"" once an image uses it. Until then it waits for a pull, and counts in the boot that made it only."""
    record: str = ""
    """The digest of the file by which it is checked; "" for layers of older versions, which have none."""
    disk: int = 0
    """Bytes of blocks that it and that file take on the disk; 0 for layers of older versions."""


class ImageRecords:
    """Reads everything at start, writes each change.

    An image's row is written durably, once the files that it names are on the disk, and deleted durably before they go.
    A layer's row need not be durable: the start removes layers that no image names, and the image's row makes it so.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def images(self) -> list[ImageRecord]:
        """All images. Raises DataLoss when a record cannot be read."""
        rows = self._db.execute("SELECT id, size, user, layers, manifests, removed, used_at FROM images").fetchall()
        return [
            ImageRecord(
                id=row["id"],
                size=row["size"],
                user=row["user"],
                layers=_digests(row["layers"]),
                manifests=_digests(row["manifests"]),
                removed=bool(row["removed"]),
                used_at=row["used_at"],
            )
            for row in rows
        ]

    def names(self) -> dict[str, str]:
        """The image's id of each name."""
        return {row["name"]: row["image"] for row in self._db.execute("SELECT name, image FROM image_names")}

    def snapshots(self) -> list[SnapshotRecord]:
        """All unpacked layers."""
        columns = "chain_id, folder, size, inodes, made_at, boot_id, record, disk"
        rows = self._db.execute(f"SELECT {columns} FROM snapshots").fetchall()
        return [SnapshotRecord(*row) for row in rows]

    def save_image(self, image: ImageRecord, names: Iterable[str]) -> None:
        """Write an image, new or changed, and give it names, which may have been another's.

        Raises ResourceExhausted when the disk is full.
        """
        with self._transaction(durable=True):
            self._db.execute(
                "INSERT INTO images (id, size, user, layers, manifests, removed, used_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET size = excluded.size, user = excluded.user, layers = excluded.layers, "
                "manifests = excluded.manifests, removed = excluded.removed, used_at = excluded.used_at",
                (
                    image.id,
                    image.size,
                    image.user,
                    msgspec.json.encode(image.layers).decode(),
                    msgspec.json.encode(image.manifests).decode(),
                    int(image.removed),
                    image.used_at,
                ),
            )
            for chain_id in image.layers:
                self._db.execute("UPDATE snapshots SET boot_id = '' WHERE chain_id = ?", (chain_id,))
            for name in names:
                self._db.execute("INSERT OR REPLACE INTO image_names (name, image) VALUES (?, ?)", (name, image.id))

    def strip_image(self, image_id: str) -> None:
        """Take an image's names and mark it as removed."""
        with self._transaction(durable=True):
            self._db.execute("DELETE FROM image_names WHERE image = ?", (image_id,))
            self._db.execute("UPDATE images SET removed = 1 WHERE id = ?", (image_id,))

    def delete(self, image_ids: Iterable[str], chain_ids: Iterable[str]) -> None:
        """Forget images, with their names, and unpacked layers."""
        with self._transaction(durable=True):
            for image_id in image_ids:
                self._db.execute("DELETE FROM images WHERE id = ?", (image_id,))
            for chain_id in chain_ids:
                self._db.execute("DELETE FROM snapshots WHERE chain_id = ?", (chain_id,))

    def save_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Write an unpacked layer, which may replace an earlier one. Raises ResourceExhausted when the disk is full."""
        with self._transaction(durable=False):
            self._db.execute(
                "INSERT OR REPLACE INTO snapshots (chain_id, folder, size, inodes, made_at, boot_id, record, disk) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                astuple(snapshot),
            )

    def mark_used(self, image_ids: Iterable[str], when: int) -> None:
        """Note that containers use images. ``when``: nanoseconds since 1970."""
        with self._transaction(durable=False):
            for image_id in image_ids:
                self._db.execute("UPDATE images SET used_at = ? WHERE id = ?", (when, image_id))

    def _is_full(self, error: sqlite3.OperationalError) -> bool:
        # The write-ahead log's index is a file too; where that cannot grow, it is called an I/O error.
        code = error.sqlite_errorcode
        status = os.statvfs(self._db.path)
        no_room = status.f_bavail * status.f_frsize < _INDEX_STEP
        return code == sqlite3.SQLITE_FULL or (code & 0xFF == sqlite3.SQLITE_IOERR and no_room)

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[None]:
        try:
            with self._db.transaction(durable):
                yield
        except sqlite3.OperationalError as error:
            kind = ResourceExhausted if self._is_full(error) else Internal
            raise kind(f"cannot write the database {self._db.path}: {error}") from error


def _digests(text: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise DataLoss(f"a record of an image cannot be read: {error}") from error
