"""The database and its records."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from podyard.errors import DataLoss, FailedPrecondition
from podyard.linux import mounts
from podyard.model.records import Container, Process, Sandbox
from podyard.state.database import Database
from podyard.state.records import Records

SANDBOX = Sandbox(id="s", config=b"\x00\xff", handler="", runtime="crun", created_at=1, boot_id="b", ips=("10.0.0.1",))
CONTAINER = Container(
    id="c",
    sandbox_id="s",
    config=b"",
    runtime="crun",
    image_id="i",
    image_ref="r",
    created_at=2,
    boot_id="b",
    stop_signal="SIGTERM",
    process=Process(pid=1, start_time=2, monitor_pid=3, monitor_start_time=4),
    groups=(1, 2),
)


def test_records_survive_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    records = Records(database)
    records.save_sandbox(SANDBOX)
    records.save_container(CONTAINER)
    records.save_container(replace(CONTAINER, state="exited", exit_code=3))
    database.close()
    records = Records(Database(tmp_path / "state.db"))
    assert records.sandboxes() == [SANDBOX]
    assert records.containers() == [replace(CONTAINER, state="exited", exit_code=3)]
    records.delete_container("c")
    records.delete_sandbox("s")
    assert (records.sandboxes(), records.containers()) == ([], [])


def test_a_sandbox_with_containers_cannot_be_forgotten(tmp_path: Path) -> None:
    records = Records(Database(tmp_path / "state.db"))
    records.save_sandbox(SANDBOX)
    records.save_container(CONTAINER)
    with pytest.raises(sqlite3.IntegrityError):
        records.delete_sandbox("s")


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    records = Records(database)
    with pytest.raises(RuntimeError), database.transaction(durable=True):
        records.save_sandbox(SANDBOX)
        raise RuntimeError
    assert records.sandboxes() == []
    assert database.execute("PRAGMA synchronous").fetchone()[0] == 1


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DataLoss, match=r"state\.db"):
        Database(path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.execute("PRAGMA user_version=9999")
    database.close()
    with pytest.raises(FailedPrecondition, match="newer podyard"):
        Database(path)


def test_an_unreadable_record_is_reported(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    database.execute("INSERT INTO sandboxes (id, record) VALUES ('x', CAST('{' AS BLOB))")
    with pytest.raises(DataLoss, match=r"record of a sandbox in .*state\.db.*move the file away"):
        Records(database).sandboxes()


def test_a_file_that_is_damaged_further_on_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    for number in range(200):
        Records(database).save_sandbox(replace(SANDBOX, id=f"{number:064x}"))
    database.close()
    with path.open("r+b") as file:
        [page] = sqlite3.connect(path).execute("SELECT rootpage FROM sqlite_master WHERE name = 'sandboxes'").fetchone()
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(DataLoss, match=r"record of a sandbox in .*state\.db.*malformed"):
        Records(Database(path)).sandboxes()


@pytest.mark.host
def test_a_database_that_a_full_disk_keeps_closed_is_not_to_be_moved_away(tmp_path: Path) -> None:
    mounts.mount_tmpfs(tmp_path, "size=200k")
    try:
        Database(tmp_path / "state.db").close()
        with suppress(OSError), (tmp_path / "rest").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(FailedPrecondition, match=r"state\.db.*room on its disk") as told:
            Database(tmp_path / "state.db")
        assert "move it away" not in str(told.value)
    finally:
        mounts.unmount(tmp_path)


def test_a_directory_in_the_place_of_the_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(FailedPrecondition, match=r"state\.db"):
        Database(tmp_path / "state.db")
