"""The worker's life: what it may do, how it is followed, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.images.unpack.archives import END, TAR, digest, file

from podyard.errors import DeadlineExceeded, Internal
from podyard.images.unpack import Limits, unpack_layer
from podyard.linux import confine

pytestmark = pytest.mark.host

ARCHIVE = file(b"a", os.urandom(200_000)) + END
HALF = 65536  # one read: the worker has taken it when it has told so


class Fed:
    """A worker that reads its blob from a pipe of the test's."""

    def __init__(self, folder: Path) -> None:
        self.fifo = folder / "blob"
        self.target = folder / "target"
        self.read: asyncio.Queue[int] = asyncio.Queue()
        os.mkfifo(self.fifo)
        self.target.mkdir()
        self.pipe = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)

    def start(self, limits: Limits | None = None) -> asyncio.Task[object]:
        return asyncio.create_task(
            unpack_layer(
                self.fifo,
                TAR,
                self.target,
                diff_id=digest(ARCHIVE),
                limits=limits or Limits(),
                on_progress=self.read.put_nowait,
            )
        )

    async def half(self) -> int:
        """Feed a part; the worker's pid when it is at work."""
        assert os.write(self.pipe, ARCHIVE[:HALF]) == HALF
        async with asyncio.timeout(20):
            assert await self.read.get() > 0
        return next(pid for pid in _children() if b"unpack.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())


def _children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


@pytest.fixture
async def fed(tmp_path: Path) -> AsyncIterator[Fed]:
    before = _children()  # such as a registry that other tests use
    worker = Fed(tmp_path)
    yield worker
    os.close(worker.pipe)
    assert _children() == before


async def test_the_worker_has_given_up_what_it_does_not_need(fed: Fed) -> None:
    task = fed.start()
    pid = await fed.half()
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    kept = sum(
        1 << number
        for number in (
            confine.CAP_CHOWN,
            confine.CAP_DAC_OVERRIDE,
            confine.CAP_FOWNER,
            confine.CAP_FSETID,
            confine.CAP_MKNOD,
            confine.CAP_SETFCAP,
            confine.CAP_SYS_ADMIN,
        )
    )
    assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {f"{kept:016x}"}
    assert (status["CapInh"], status["NoNewPrivs"]) == ("0" * 16, "1")
    assert (proc / "root").stat().st_ino == (proc / "cwd").stat().st_ino == fed.target.stat().st_ino
    for name in ("net", "ipc"):
        assert (proc / "ns" / name).readlink() != Path(f"/proc/self/ns/{name}").readlink()
    opened = {link: str(link.readlink()) for link in (proc / "fd").iterdir()}
    # Its files are at the root, as it sees them.
    others = [link for link, path in opened.items() if not path.startswith("pipe:") and path != "/a"]
    for known in (Path("/dev/null"), fed.fifo, fed.target):
        assert [link for link in others if link.samefile(known)]
    assert len(others) == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_caller_finds_the_worker_dead(fed: Fed) -> None:
    task = fed.start()
    pid = await fed.half()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid}").exists()


async def test_a_worker_without_progress_is_ended(fed: Fed) -> None:
    task = fed.start(Limits(stall=1.5))
    pid = await fed.half()
    with pytest.raises(DeadlineExceeded, match=r"no progress for 1\.5 s"):
        await task
    assert not Path(f"/proc/{pid}").exists()


async def test_a_killed_worker_is_told(fed: Fed) -> None:
    task = fed.start()
    os.kill(await fed.half(), signal.SIGKILL)
    with pytest.raises(Internal, match=r"blob ended with exit code -9: it said nothing"):
        await task


async def test_progress_is_told_in_bytes_of_the_blob(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(ARCHIVE)
    (tmp_path / "target").mkdir()
    seen: list[int] = []
    await unpack_layer(tmp_path / "blob", TAR, tmp_path / "target", diff_id=digest(ARCHIVE), on_progress=seen.append)
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] == len(ARCHIVE)


async def test_a_bug_in_the_worker_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(ARCHIVE)
    with pytest.raises(Internal, match="ended with exit code 1: TypeError"):
        await unpack_layer(
            tmp_path / "blob",
            TAR,
            tmp_path,
            diff_id=digest(ARCHIVE),
            limits=Limits(entries="many"),  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("turns", range(6))
async def test_a_caller_that_goes_away_at_once_leaves_nothing(fed: Fed, turns: int) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    task = fed.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
