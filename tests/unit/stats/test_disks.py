"""The size of directory trees, and measuring many of them in the background."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podyard.stats import disks, tree
from podyard.stats.disks import Disks
from podyard.stats.usage import Disk


def sizes(folder: Path) -> tuple[int, int]:
    """Blocks and inodes of a tree that is easy to walk."""
    found: dict[int, int] = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        found[status.st_ino] = status.st_blocks * 512
    return sum(found.values()), len(found)


def test_a_tree_is_its_blocks_and_inodes(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(bytes(100_000))
    (tmp_path / "a" / "b" / "small").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    before = time.time_ns()
    disk = tree.measure(tmp_path)
    assert (disk.bytes, disk.inodes) == sizes(tmp_path)
    assert disk.bytes >= 100_000
    assert disk.inodes == 6
    assert before <= disk.timestamp <= time.time_ns()


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(50_000))
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    disk = tree.measure(tmp_path)
    assert (disk.bytes, disk.inodes) == sizes(tmp_path)
    assert disk.inodes == 2


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(bytes(1_000_000))
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "folder").symlink_to(outside)
    (layer / "itself").symlink_to(layer)
    (layer / "file").symlink_to(outside / "big")
    disk = tree.measure(layer)
    assert disk.inodes == 4
    assert disk.bytes < 100_000


def test_a_tree_that_is_deeper_than_any_path_is_long(tmp_path: Path) -> None:
    name, depth = "d" * 200, 100
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("last", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
    os.close(folder)
    try:
        assert tree.measure(tmp_path).inodes == 1 + depth + 1
    finally:
        # pathlib and shutil cannot reach so deep.
        subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)


def test_a_tree_is_measured_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(tree, "LIMIT", 10)
    assert tree.measure(tmp_path).inodes == 10


def test_a_tree_is_measured_for_a_limited_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.setattr(tree, "PATIENCE", -1.0)
    assert tree.measure(tmp_path).inodes == 2


def test_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tree.measure(tmp_path / "gone")


@asynccontextmanager
async def running(found: Disks) -> AsyncIterator[None]:
    task = asyncio.create_task(found.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_never_measured_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10_000))
    found = Disks(interval=3600)
    async with running(found):
        answer = await found.look({"a": tmp_path, "gone": tmp_path / "gone"})
        assert set(answer) == {"a"}
        assert (answer["a"].bytes, answer["a"].inodes) == sizes(tmp_path)
        (tmp_path / "second").touch()
        # Known by now: the same answer, without a measurement.
        assert await found.look({"a": tmp_path}) == answer


async def test_layers_are_measured_again_and_again(tmp_path: Path) -> None:
    found = Disks(interval=0.01)
    async with running(found):
        found.keep({"a": tmp_path})
        assert (await found.look({"a": tmp_path}))["a"].inodes == 1
        (tmp_path / "file").touch()
        async with asyncio.timeout(10):
            while (await found.look({"a": tmp_path}))["a"].inodes != 2:
                await asyncio.sleep(0.01)


async def test_a_disk_that_hangs_holds_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(folder: Path) -> Disk:
        go_on.wait(30)
        return Disk(1, 1, 1)

    monkeypatch.setattr(disks, "measure", hang)
    monkeypatch.setattr(disks, "FIRST_LOOK", 0.02)
    found = Disks(interval=3600)
    async with running(found):
        try:
            async with asyncio.timeout(10):
                assert await found.look({"a": tmp_path, "b": tmp_path}) == {}
        finally:
            go_on.set()
        async with asyncio.timeout(10):
            while len(await found.look({"a": tmp_path, "b": tmp_path})) < 2:
                await asyncio.sleep(0.01)


async def test_what_is_not_kept_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []

    def measure(folder: Path) -> Disk:
        looked.append(folder)
        return Disk(len(looked), 1, 1)

    monkeypatch.setattr(disks, "measure", measure)
    found = Disks(interval=3600)
    async with running(found):
        first = await found.look({"a": tmp_path})
        found.keep({"a": tmp_path})
        assert await found.look({"a": tmp_path}) == first
        found.keep({})
        assert await found.look({"a": tmp_path}) != first
        assert looked == [tmp_path, tmp_path]
