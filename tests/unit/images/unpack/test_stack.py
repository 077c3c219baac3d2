"""Layers that one worker unpacks on top of each other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.images.unpack import archives
from tests.unit.images.unpack.archives import END, TAR, digest

from podyard.errors import DataLoss, Internal
from podyard.images.unpack import Stack, UnpackResult, Workers

pytestmark = pytest.mark.host

LAYERS = [
    archives.folder(b"d", mode=0o711) + archives.symlink(b"to-d", b"d") + archives.file(b"d/0", b"lowest") + END,
    archives.file(b"d/1", b"second") + archives.file(b"to-d/2") + END,
    archives.file(b"d/0", b"third") + END,
]
"""Only the lowest has the directory, and a link to it."""


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers()
    yield made
    await made.close()
    assert made._leaving == set()


class Case:
    """A stack with its blobs and records, in a folder."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self.targets = [folder / f"l{number}" for number in range(len(LAYERS))]
        self.workers = workers
        for number, target in enumerate(self.targets):
            target.mkdir()
            (folder / f"blob{number}").write_bytes(LAYERS[number])
        self.stack = Stack(self.targets, workers=workers)

    async def unpack(self, number: int, below: asyncio.Future[bool] | None = None, diff_id: str = "") -> UnpackResult:
        target = self.stack.claim()
        assert target == self.targets[number]
        return await self.stack.unpack(
            target,
            self.folder / f"blob{number}",
            TAR,
            diff_id=diff_id or digest(LAYERS[number]),
            lower=self.targets[number - 1 :: -1] if number else [],
            record=self.folder / f"record{number}",
            below=below,
        )

    def children(self) -> list[int]:
        """The pids of all workers, those that wait for work included."""
        assert self.workers._nursery is not None
        pid = self.workers._nursery._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def at_work(self) -> list[int]:
        """The pids of those that have one of the stack's layers for their root."""
        inodes = {target.stat().st_ino for target in self.targets}
        found = []
        for pid in self.children():
            with suppress(FileNotFoundError):
                if Path(f"/proc/{pid}/root").stat().st_ino in inodes:
                    found.append(pid)
        return found


@pytest.fixture
def case(tmp_path: Path, workers: Workers) -> Case:
    return Case(tmp_path, workers)


async def test_one_worker_unpacks_all_layers_and_ends(case: Case) -> None:
    results = [await case.unpack(0)]
    [pid] = case.at_work()
    for number in (1, 2):
        assert case.stack.resting
        assert case.at_work() == [pid]
        results.append(await case.unpack(number))
    assert case.stack.over
    while pid in case.children():
        await asyncio.sleep(0.01)
    assert [result.inodes for result in results] == [4, 4, 3]
    assert [result.diff_id for result in results] == [digest(layer) for layer in LAYERS]
    assert all(f"{result.record}" for result in results)
    # What is left out is as the layers below have it, also those that the same worker has made.
    assert [(target / "d").stat().st_mode & 0o777 for target in case.targets] == [0o711] * 3
    assert sorted(os.listdir(case.targets[1] / "d")) == ["1", "2"]  # noqa: PTH208
    assert [(target / "d/0").read_bytes() for target in case.targets[::2]] == [b"lowest", b"third"]


async def test_a_layer_waits_until_the_one_below_is_whole(case: Case) -> None:
    below: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(case.unpack(0))
    second = asyncio.create_task(case.unpack(1, below))
    await first
    await asyncio.wait([second], timeout=0.2)
    assert not second.done()
    assert os.listdir(case.targets[1]) == []  # noqa: PTH208
    below.set_result(True)
    await second
    case.stack.give_up()


async def test_a_layer_that_fails_ends_the_stack(case: Case) -> None:
    await case.unpack(0)
    [pid] = case.at_work()
    with pytest.raises(DataLoss, match="has the digest"):
        await case.unpack(1, diff_id=digest(b""))
    assert case.stack.over
    assert pid not in case.children()
    assert list(case.stack.unclaimed) == [case.targets[2]]


async def test_what_is_below_may_come_to_nothing(case: Case) -> None:
    below: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(case.unpack(0, diff_id=digest(b"")))
    second = asyncio.create_task(case.unpack(1, below))
    with pytest.raises(DataLoss):
        await first
    below.set_result(False)
    with pytest.raises(Internal, match="the layer below has come to nothing"):
        await second
    assert case.stack.over


async def test_a_layer_that_nobody_wants_any_more_leaves_the_one_below_alone(case: Case, tmp_path: Path) -> None:
    (tmp_path / "blob0").unlink()
    os.mkfifo(tmp_path / "blob0")
    below: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(case.unpack(0))
    second = asyncio.create_task(case.unpack(1, below))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert case.stack.over
    await asyncio.to_thread((tmp_path / "blob0").write_bytes, LAYERS[0])
    assert (await first).inodes == 4
    while case.at_work():
        await asyncio.sleep(0.01)


async def test_a_cancelled_layer_finds_its_worker_dead(case: Case, tmp_path: Path) -> None:
    await case.unpack(0)
    [pid] = case.at_work()
    os.kill(pid, signal.SIGSTOP)
    second = asyncio.create_task(case.unpack(1))
    await asyncio.sleep(0.05)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert pid not in case.children()
    assert os.listdir(case.targets[1]) == []  # noqa: PTH208


async def test_a_stack_that_is_given_up_ends_its_worker(case: Case) -> None:
    await case.unpack(0)
    assert not case.stack.over
    case.stack.give_up()
    assert case.stack.over
    while case.at_work():
        await asyncio.sleep(0.01)


async def test_a_resting_worker_that_was_killed_gets_no_more_layers(case: Case) -> None:
    await case.unpack(0)
    [pid] = case.at_work()
    os.kill(pid, signal.SIGKILL)
    while not case.stack.over:
        await asyncio.sleep(0.01)
    case.stack.give_up()


async def test_a_blob_that_is_gone_is_told(case: Case, tmp_path: Path) -> None:
    await case.unpack(0)
    (tmp_path / "blob1").unlink()
    with pytest.raises(Internal, match=r"cannot open .*/blob1: No such file"):
        await case.unpack(1)
    assert case.stack.over
    while case.at_work():
        await asyncio.sleep(0.01)
