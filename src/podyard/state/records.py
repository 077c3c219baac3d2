"""The records of sandboxes and containers in the database."""

from __future__ import annotations

import sqlite3
from typing import Literal, TypeVar

import msgspec

from podyard.errors import DataLoss
from podyard.model.records import Container, Sandbox
from podyard.state.database import Database

Record = TypeVar("Record", Sandbox, Container)


class Records:
    """Reads all records at start, writes each change."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def sandboxes(self) -> list[Sandbox]:
        """All sandboxes. Raises DataLoss when a record cannot be read."""
        return self._all("sandboxes", Sandbox)

    def containers(self) -> list[Container]:
        """All containers. Raises DataLoss when a record cannot be read."""
        return self._all("containers", Container)

    def save_sandbox(self, sandbox: Sandbox) -> None:
        """Write a sandbox, new or changed."""
        self._db.execute(
            "INSERT INTO sandboxes (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (sandbox.id, msgspec.json.encode(sandbox)),
        )

    def save_container(self, container: Container) -> None:
        """Write a container, new or changed."""
        self._db.execute(
            "INSERT INTO containers (id, sandbox_id, record) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (container.id, container.sandbox_id, msgspec.json.encode(container)),
        )

    def delete_sandbox(self, sandbox_id: str) -> None:
        """Forget a sandbox; its containers must have been forgotten before."""
        self._db.execute("DELETE FROM sandboxes WHERE id = ?", (sandbox_id,))

    def delete_container(self, container_id: str) -> None:
        """Forget a container."""
        self._db.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    def _all(self, table: Literal["sandboxes", "containers"], kind: type[Record]) -> list[Record]:
        what = f"a record of a {kind.__name__.lower()} in {self._db.path} cannot be read"
        try:
            rows = self._db.execute(f"SELECT record FROM {table}").fetchall()
            return [msgspec.json.decode(row["record"], type=kind) for row in rows]
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            raise DataLoss(f"{what}: {error}; move the file away to start empty") from error
