"""One SQLite database for everything that must survive the daemon.

``synchronous=NORMAL`` loses nothing when the process dies. After a power cut the last moments may be missing; that is
harmless for what lives in the kernel (it went with the power), so only writers of files on disk (an image's blobs and
snapshots) ask for a durable transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from podyard.errors import DataLoss, FailedPrecondition, PodyardError


class Database:
    """The open database, its schema brought up to date. Used from one thread only (the event loop's)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise _cannot_open(path, error) from error
        self._connection.row_factory = sqlite3.Row
        try:
            self.execute("PRAGMA journal_mode=WAL")
            self.execute("PRAGMA synchronous=NORMAL")
            self.execute("PRAGMA foreign_keys=ON")
            self.execute("PRAGMA busy_timeout=2000")
            self._migrate()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _cannot_open(path, error) from error
        except BaseException:
            self._connection.close()
            raise

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement. Outside a transaction it commits by itself."""
        return self._connection.execute(sql, params)

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[None]:
        """All statements inside commit together, or none does. ``durable``: on the disk before it returns (fsync)."""
        if durable:
            self.execute("PRAGMA synchronous=FULL")
        try:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                # SQLite has done it already where the disk is full.
                if self._connection.in_transaction:
                    self.execute("ROLLBACK")
                raise
        finally:
            if durable:
                self.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        """Close the database; the write-ahead log is folded in."""
        self._connection.close()

    def _migrate(self) -> None:
        current: int = self.execute("PRAGMA user_version").fetchone()[0]
        migrations = _migrations()
        if current > len(migrations):
            raise FailedPrecondition(
                f"{self.path} has schema {current}, this podyard knows {len(migrations)}: "
                "it was written by a newer podyard; start that one, or use another state directory"
            )
        for number, script in enumerate(migrations[current:], start=current + 1):
            self._connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")


def _cannot_open(path: Path, error: sqlite3.DatabaseError) -> PodyardError:
    """What is wrong: the file's content, or the disk, the rights, or whatever keeps SQLite from reading and writing it.

    To start empty helps against the first alone: records that a full disk keeps unread must stay.
    """
    what = f"cannot open the state database {path}: {error}"
    if isinstance(error, sqlite3.OperationalError):
        folder = path.parent
        return FailedPrecondition(f"{what}; see that {folder} has room on its disk, and that podyard may write there")
    return DataLoss(f"{what}; move it away to start empty")


def _migrations() -> list[str]:
    """The migration scripts, in order. Their names start with their number: 0001 is the first."""
    folder = files("podyard.state") / "migrations"
    scripts = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    for number, (name, _) in enumerate(scripts, start=1):
        if not name.startswith(f"{number:04d}_"):
            raise AssertionError(f"migration {name} is out of order: expected number {number:04d}")
    return [entry.read_text(encoding="utf-8") for _, entry in scripts]
