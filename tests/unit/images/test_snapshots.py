"""Layers that are unpacked side by side."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.images.unpack import archives

from podyard.errors import DataLoss
from podyard.images.making import RESTING_LIMIT
from podyard.images.manifest import chain_ids
from podyard.images.records import ImageRecords
from podyard.images.snapshots import Snapshots
from podyard.state.database import Database

TAR = "application/vnd.oci.image.layer.v1.tar"

LAYERS = [
    archives.folder(b"d", mode=0o711) + archives.file(b"d/0") + archives.folder(b"e", mode=0o711) + archives.END,
    archives.file(b"d/1") + archives.END,
    archives.file(b"d/2") + archives.file(b"e/2") + archives.END,
]
"""Only the lowest has the directories."""
DIFF_IDS = [archives.digest(layer) for layer in LAYERS]
CHAIN = chain_ids(DIFF_IDS)


@pytest.fixture
async def snapshots(tmp_path: Path) -> AsyncIterator[Snapshots]:
    for number, layer in enumerate(LAYERS):
        (tmp_path / f"blob{number}").write_bytes(layer)
    (tmp_path / "images").mkdir()
    database = Database(tmp_path / "state.db")
    made = Snapshots(tmp_path / "images", ImageRecords(database))
    await made.start()
    yield made
    await made.close()
    database.close()


async def unpack(snapshots: Snapshots, folder: Path, position: int, diff_id: str = "", small: int = 0) -> bool:
    blob, diff_id = folder / f"blob{position}", diff_id or DIFF_IDS[position]
    return await snapshots.unpack(blob, TAR, CHAIN[: position + 1], diff_id, small)


def workers(snapshots: Snapshots) -> int:
    """How many are at work, or rest between two layers."""
    nursery = snapshots.workers._nursery
    return nursery.workers if nursery is not None else 0


def folders(tmp_path: Path) -> list[str]:
    """The names of the layers' directories."""
    return sorted(path.name for path in (tmp_path / "images/l").iterdir())


@pytest.mark.host
async def test_layers_that_are_begun_together_wait_for_what_they_need(snapshots: Snapshots, tmp_path: Path) -> None:
    # The lowest one's content comes late.
    (tmp_path / "blob0").unlink()
    os.mkfifo(tmp_path / "blob0")
    tasks = []
    for position in range(3):
        tasks.append(asyncio.create_task(unpack(snapshots, tmp_path, position)))
        await snapshots.begun(CHAIN[: position + 1])
    await asyncio.to_thread((tmp_path / "blob0").write_bytes, LAYERS[0])
    assert await asyncio.gather(*tasks) == [True, True, True]
    modes = [(path / "d").stat().st_mode & 0o777 for path in snapshots.lower_dirs(CHAIN)]
    assert modes == [0o711] * 3
    assert snapshots.strays() == []


@pytest.mark.host
async def test_what_stands_on_a_layer_that_fails_can_be_unpacked_again(snapshots: Snapshots, tmp_path: Path) -> None:
    wrong = asyncio.create_task(unpack(snapshots, tmp_path, 0, DIFF_IDS[1]))
    await snapshots.begun(CHAIN[:1])
    upper = asyncio.create_task(unpack(snapshots, tmp_path, 1))
    await snapshots.begun(CHAIN[:2])
    top = asyncio.create_task(unpack(snapshots, tmp_path, 2))
    with pytest.raises(DataLoss):
        await wrong
    assert [await upper, await top] == [False, False]
    # Without what is below it does not even begin.
    assert not await unpack(snapshots, tmp_path, 1)
    assert (snapshots.strays(), list(snapshots.records())) == ([], [])
    for position in range(3):
        assert await unpack(snapshots, tmp_path, position)
    assert all(chain_id in snapshots for chain_id in CHAIN)


async def test_a_layer_on_one_that_stands_on_nothing_waits_for_its_end(snapshots: Snapshots, tmp_path: Path) -> None:
    # The lowest has failed, and the second is about to: whoever asked again and again would keep it from that.
    second = snapshots._making.begin(CHAIN[1], None, 0)
    top = asyncio.create_task(unpack(snapshots, tmp_path, 2))
    await asyncio.wait([top], timeout=0.1)
    assert not top.done()
    snapshots._making.end(second, whole=False)
    assert not await top
    second.tree.rmdir()


@pytest.mark.host
async def test_what_is_left_out_of_a_layer_is_logged(
    snapshots: Snapshots, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The kernel has no user attributes on symbolic links.
    layer = archives.pax((b"SCHILY.xattr.user.mark", b"1")) + archives.symlink(b"a", b"b") + archives.END
    (tmp_path / "marked").write_bytes(layer)
    diff_id = archives.digest(layer)
    assert await snapshots.unpack(tmp_path / "marked", TAR, chain_ids([diff_id]), diff_id)
    [message] = caplog.messages
    assert diff_id in message
    assert "attribute 'user.mark': Operation not permitted, first for 'a'" in message


@pytest.mark.host
async def test_small_layers_are_unpacked_by_one_worker(snapshots: Snapshots, tmp_path: Path) -> None:
    for position in range(2):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)
        assert (workers(snapshots), snapshots.strays()) == (1, [])
    # A place is kept for the third.
    assert folders(tmp_path) == ["0", "1", "2", "3"]
    assert await unpack(snapshots, tmp_path, 2, small=1)
    snapshots.release(CHAIN)
    while workers(snapshots):
        await asyncio.sleep(0.01)
    modes = [(path / "d").stat().st_mode & 0o777 for path in snapshots.lower_dirs(CHAIN)]
    assert modes == [0o711] * 3


@pytest.mark.host
async def test_small_layers_that_are_begun_together_share_a_worker(
    snapshots: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = snapshots.workers.start

    def count(*asked: Any) -> Any:
        started.append(asked)
        return start(*asked)

    monkeypatch.setattr(snapshots.workers, "start", count)
    (tmp_path / "blob0").unlink()
    os.mkfifo(tmp_path / "blob0")
    tasks = []
    for position in range(3):
        tasks.append(asyncio.create_task(unpack(snapshots, tmp_path, position, small=3 - position)))
        await snapshots.begun(CHAIN[: position + 1])
    await asyncio.to_thread((tmp_path / "blob0").write_bytes, LAYERS[0])
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert len(started) == 1
    assert snapshots.strays() == []
    assert all((path / "d").stat().st_mode & 0o777 == 0o711 for path in snapshots.lower_dirs(CHAIN))


@pytest.mark.host
async def test_a_worker_that_no_layer_needs_any_more_ends(snapshots: Snapshots, tmp_path: Path) -> None:
    assert await unpack(snapshots, tmp_path, 0, small=3)
    snapshots.release(CHAIN)
    assert folders(tmp_path) == ["0", "1"]
    while workers(snapshots):
        await asyncio.sleep(0.01)
    # The image is pulled again, and this time all of it comes.
    for position in (1, 2):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)
    snapshots.release(CHAIN)
    assert all(chain_id in snapshots for chain_id in CHAIN)
    assert len(folders(tmp_path)) == 4


@pytest.mark.host
async def test_small_layers_on_one_that_fails_come_to_nothing(snapshots: Snapshots, tmp_path: Path) -> None:
    assert await unpack(snapshots, tmp_path, 0, small=3)
    wrong = asyncio.create_task(unpack(snapshots, tmp_path, 1, DIFF_IDS[0], small=2))
    await snapshots.begun(CHAIN[:2])
    top = asyncio.create_task(unpack(snapshots, tmp_path, 2, small=1))
    with pytest.raises(DataLoss):
        await wrong
    assert not await top
    assert (folders(tmp_path), workers(snapshots)) == (["0", "1"], 0)
    for position in (1, 2):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)


@pytest.mark.host
async def test_a_killed_worker_fails_no_layer_that_it_had_not_begun(snapshots: Snapshots, tmp_path: Path) -> None:
    assert await unpack(snapshots, tmp_path, 0, small=3)
    nursery = snapshots.workers._nursery
    assert nursery is not None
    pid = nursery._process.pid
    [folder] = snapshots.lower_dirs(CHAIN[:1])
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/root").samefile(folder):
            os.kill(int(child), signal.SIGKILL)
    [stack] = snapshots._making._stacks.values()
    while not stack.over:
        await asyncio.sleep(0.01)
    for position in (1, 2):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)
    snapshots.release(CHAIN)
    assert len(folders(tmp_path)) == 4


@pytest.mark.host
async def test_few_workers_wait_for_more_layers(snapshots: Snapshots, tmp_path: Path) -> None:
    for number in range(RESTING_LIMIT + 2):
        layer = archives.file(b"%d" % number) + archives.END
        (tmp_path / "one").write_bytes(layer)
        diff_id = archives.digest(layer)
        assert await snapshots.unpack(tmp_path / "one", TAR, chain_ids([diff_id]), diff_id, 2)
    while workers(snapshots) > RESTING_LIMIT:
        await asyncio.sleep(0.01)
    assert workers(snapshots) == RESTING_LIMIT
    assert len(folders(tmp_path)) == 1 + RESTING_LIMIT + 2 + RESTING_LIMIT
    assert snapshots.strays() == []


@pytest.mark.host
@pytest.mark.parametrize("there", [1, 2])
async def test_layers_stand_on_the_one_that_has_replaced_a_damaged_one(
    snapshots: Snapshots, tmp_path: Path, there: int
) -> None:
    # A worker waits for what stands on the damaged one.
    for position in range(there):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)
    with snapshots.suspected(CHAIN[:1], frozenset):
        # Of another image, whose next layer is large.
        assert await unpack(snapshots, tmp_path, 0, small=1)
    for position in range(there, 3):
        assert await unpack(snapshots, tmp_path, position, small=3 - position)
    modes = [(path / "d").stat().st_mode & 0o777 for path in snapshots.lower_dirs(CHAIN)]
    assert modes == [0o711] * 3
    assert (snapshots.lower_dirs(CHAIN)[0] / "e").stat().st_mode & 0o777 == 0o711
    assert len(folders(tmp_path)) == 4


@pytest.mark.host
async def test_a_layer_that_is_begun_again_while_the_first_try_ends_is_in_the_making(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    (tmp_path / "blob0").unlink()
    os.mkfifo(tmp_path / "blob0")
    first = asyncio.create_task(unpack(snapshots, tmp_path, 0))
    await snapshots.begun(CHAIN[:1])
    while not workers(snapshots):
        await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0)
    second = asyncio.create_task(unpack(snapshots, tmp_path, 0))
    with pytest.raises(asyncio.CancelledError):
        await first
    assert snapshots.strays() == []
    await snapshots.begun(CHAIN[:1])
    await asyncio.to_thread((tmp_path / "blob0").write_bytes, LAYERS[0])
    assert await second


@pytest.mark.host
async def test_a_damaged_layer_that_is_not_replaced_is_here_again_for_those_that_wait(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    assert await unpack(snapshots, tmp_path, 0)
    with snapshots.suspected(CHAIN[:1], frozenset):
        waiting = asyncio.create_task(snapshots.begun(CHAIN[:1]))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
    await waiting


@pytest.mark.host
async def test_a_replaced_layer_stays_until_nobody_looks_at_it(snapshots: Snapshots, tmp_path: Path) -> None:
    assert await unpack(snapshots, tmp_path, 0)
    (tmp_path / "blob1").unlink()
    os.mkfifo(tmp_path / "blob1")
    upper = asyncio.create_task(unpack(snapshots, tmp_path, 1))
    await snapshots.begun(CHAIN[:2])
    with snapshots.suspected(CHAIN[:1], frozenset):
        replacing = asyncio.create_task(unpack(snapshots, tmp_path, 0))
        await asyncio.wait([replacing], timeout=0.5)
        assert snapshots.strays() == []
        await asyncio.to_thread((tmp_path / "blob1").write_bytes, LAYERS[1])
        assert [await upper, await replacing] == [True, True]
    assert [(path / "d").stat().st_mode & 0o777 for path in snapshots.lower_dirs(CHAIN[:2])] == [0o711] * 2
    assert folders(tmp_path) == ["0", "2", "3"]
