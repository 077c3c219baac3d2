"""Which operations are in flight, and how far they are: in the database before a step acts, and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podyard.operations.step import Operation
from podyard.state.database import Database


@dataclass(frozen=True)
class Interrupted:
    """An operation that a crash cut off: ``begun`` names the steps that acted or may have."""

    id: int
    kind: str
    subject: str
    input: bytes
    undoing: bool
    begun: frozenset[str]


class Journal:
    """The journal's rows. A begun step may have acted in part; one that is not there has not."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def open(self, operation: Operation[Any], first: Sequence[str]) -> int:
        """Record an operation with its first step (or the first that act together) begun; its journal id."""
        with self._db.transaction():
            cursor = self._db.execute(
                "INSERT INTO operations (kind, subject, input) VALUES (?, ?, ?)",
                (operation.kind, operation.subject, operation.journal_input()),
            )
            number = cursor.lastrowid
            assert number is not None
            self._begin(number, first)
        return number

    def advance(self, number: int, done: Sequence[str], begun: Sequence[str]) -> None:
        """Record that steps are done and that the next ones begin."""
        with self._db.transaction():
            for name in done:
                self._db.execute("UPDATE steps SET done = 1 WHERE operation = ? AND name = ?", (number, name))
            self._begin(number, begun)

    def begin_undo(self, number: int) -> None:
        """Record that from here on the operation is taken back."""
        self._db.execute("UPDATE operations SET undoing = 1 WHERE id = ?", (number,))

    def undone(self, number: int, step: str) -> None:
        """Record that nothing of a step is left."""
        self._db.execute("DELETE FROM steps WHERE operation = ? AND name = ?", (number, step))

    def close(self, number: int) -> None:
        """Forget the operation: it is done, or nothing of it is left."""
        self._db.execute("DELETE FROM operations WHERE id = ?", (number,))

    def interrupted(self) -> list[Interrupted]:
        """What an earlier daemon left open, oldest first."""
        found = []
        for row in self._db.execute("SELECT id, kind, subject, input, undoing FROM operations ORDER BY id").fetchall():
            steps = self._db.execute("SELECT name FROM steps WHERE operation = ?", (row["id"],)).fetchall()
            begun = frozenset(step["name"] for step in steps)
            found.append(Interrupted(row["id"], row["kind"], row["subject"], row["input"], bool(row["undoing"]), begun))
        return found

    def _begin(self, number: int, names: Sequence[str]) -> None:
        for name in names:
            self._db.execute("INSERT OR REPLACE INTO steps (operation, name) VALUES (?, ?)", (number, name))
