"""Logs that grow."""

from __future__ import annotations

import gzip
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.errors import FailedPrecondition
from podyard.node.housekeeping.logs import LogRotation, tidy_parts
from podyard.node.housekeeping.settings import Settings
from podyard.pods.folders import Folders


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_old_parts_are_compressed_and_removed(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    for name in ("0.log", "10.log.20260101-000000", "0.log.other"):
        (tmp_path / name).write_text("mine")
    for number in range(1, 6):
        part = tmp_path / f"0.log.2026010{number}-000000"
        part.write_text(f"part {number}")
        part.chmod(0o640)
    (tmp_path / "0.log.20260102-000000.gz").write_bytes(gzip.compress(b"part 2"))
    (tmp_path / "0.log.20260103-000000.tmp").write_text("half")
    tidy_parts(log, 5)
    kept = [f"0.log.2026010{number}-000000.gz" for number in (3, 4, 5)]
    assert names(log) == ["0.log", *kept, "0.log.other", "10.log.20260101-000000"]
    with gzip.open(tmp_path / kept[0]) as file:
        assert file.read() == b"part 3"
    assert (tmp_path / kept[0]).stat().st_mode & 0o777 == 0o640
    tidy_parts(log, 2)
    assert names(log) == ["0.log", "0.log.other", "10.log.20260101-000000"]


@dataclass
class Rotated:
    """A Pod whose container writes to ``log``."""

    rotation: LogRotation
    log: Path
    agent: Any


@pytest.fixture
async def rotated(
    runtime: MemoryRuntime, client: Client, agents: Any, directory: Any, until: Any, tmp_path: Path
) -> AsyncIterator[Rotated]:
    directory.pod("web")
    agent = agents.start()
    await until(lambda: "StartContainer main" in runtime.calls)
    folders = Folders(tmp_path / "pods", tmp_path / "logs")
    log = Path(runtime.container("main").log_path)
    assert log.parent.is_dir()
    yield Rotated(LogRotation(client, agent, folders, Settings(log_size=10, log_files=3)), log, agent)


async def test_a_log_that_is_longer_than_it_may_be_goes_on_in_a_new_file(rotated: Rotated) -> None:
    await rotated.rotation.look()
    assert names(rotated.log) == []
    rotated.log.write_text("x" * 10)
    await rotated.rotation.look()
    assert names(rotated.log) == ["0.log"]
    rotated.log.write_text("x" * 11)
    await rotated.rotation.look()
    now, part = names(rotated.log)
    assert (now, part.startswith("0.log.2"), rotated.log.read_text()) == ("0.log", True, "")
    assert (rotated.log.parent / part).read_text() == "x" * 11


async def test_a_log_whose_container_is_not_told_stays_where_it_is(
    rotated: Rotated, runtime: MemoryRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    rotated.log.write_text("x" * 11)
    runtime.fails["ReopenContainerLog main"] = FailedPrecondition("it has ended")
    with caplog.at_level(logging.WARNING):
        await rotated.rotation.look()
    assert names(rotated.log) == ["0.log"]
    assert rotated.log.read_text() == "x" * 11
    assert "is not rotated yet" in caplog.text


async def test_logs_of_others_stay(rotated: Rotated, runtime: MemoryRuntime) -> None:
    rotated.log.write_text("x" * 11)
    runtime.container("main").labels["io.kubernetes.pod.name"] = "other"
    await rotated.rotation.look()
    runtime.container("main").labels["io.kubernetes.pod.name"] = "web"
    runtime.container("main").labels["io.kubernetes.pod.uid"] = "../.."
    await rotated.rotation.look()
    assert names(rotated.log) == ["0.log"]
