"""Workers that the nursery forks."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.unit.images.unpack import archives
from tests.unit.images.unpack.archives import digest

from podyard.errors import DataLoss, Internal, InvalidArgument
from podyard.images.unpack import UnpackResult, Workers, unpack_layer
from podyard.images.unpack.limits import Limits
from podyard.images.unpack.nursery import AHEAD

TAR = "application/vnd.oci.image.layer.v1.tar"

pytestmark = pytest.mark.host


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made = Workers()
    yield made
    await made.close()
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    """A layer of one file, in the file "blob"."""
    (tmp_path / "f").write_bytes(bytes(1000))
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "blob", "f"], check=True)
    return (tmp_path / "blob").read_bytes()


async def unpack(folder: Path, name: str, diff_id: str, workers: Workers, limits: Limits | None = None) -> UnpackResult:
    """Unpack the blob into a new directory."""
    (folder / name).mkdir()
    record = folder / f"{name}.record"
    return await unpack_layer(
        folder / "blob", TAR, folder / name, diff_id=diff_id, limits=limits, record=record, workers=workers
    )


def nursery(workers: Workers) -> int:
    assert workers._nursery is not None
    return workers._nursery._process.pid


async def waiting(workers: Workers) -> list[int]:
    """The workers that have been forked ahead; what has worked has ended."""
    children = Path(f"/proc/{nursery(workers)}/task/{nursery(workers)}/children")
    while len(pids := children.read_text().split()) >= AHEAD:
        await asyncio.sleep(0.01)
    return [int(pid) for pid in pids]


class Held:
    """A process by its pidfd, so that its pid cannot become another's."""

    def __init__(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._pidfd)

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._pidfd, number)

    def ended(self, limit: float) -> bool:
        """Whether it ends within so many seconds."""
        return bool(select.select([self._pidfd], [], [], limit)[0])


async def test_one_nursery_forks_many_workers(tmp_path: Path, archive: bytes, workers: Workers) -> None:
    results = await asyncio.gather(*(unpack(tmp_path, f"t{number}", digest(archive), workers) for number in range(8)))
    first = nursery(workers)
    results.append(await unpack(tmp_path, "last", digest(archive), workers))
    assert nursery(workers) == first
    assert {result.inodes for result in results} == {2}
    assert all((tmp_path / f"t{number}/f").stat().st_size == 1000 for number in range(8))


async def test_the_daemon_s_variables_are_kept_from_workers(
    tmp_path: Path, archive: bytes, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:password@proxy.example")
    await unpack(tmp_path, "a", digest(archive), workers)
    for pid in (nursery(workers), *await waiting(workers)):
        assert b"password" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_worker_s_error_is_told_and_the_next_one_works(
    tmp_path: Path, archive: bytes, workers: Workers
) -> None:
    with pytest.raises(DataLoss, match="has the digest"):
        await unpack(tmp_path, "a", digest(b""), workers)
    with pytest.raises(InvalidArgument, match="has a name of 1 bytes"):
        await unpack(tmp_path, "b", digest(archive), workers, Limits(path=0))
    with pytest.raises(Internal, match="ended with exit code 1: TypeError"):
        await unpack(tmp_path, "c", digest(archive), workers, Limits(entries="many"))  # type: ignore[arg-type]
    await unpack(tmp_path, "d", digest(archive), workers)


@pytest.mark.parametrize("turns", [0, 1, 3, 5, 8, 13])
async def test_a_cancelled_worker_writes_no_more(tmp_path: Path, archive: bytes, workers: Workers, turns: int) -> None:
    await unpack(tmp_path, "first", digest(archive), workers)
    with ExitStack() as stack:
        ahead = [stack.enter_context(Held(pid)) for pid in await waiting(workers)]
        # Whichever of them it is given to cannot have done it before the cancel comes.
        for one in ahead:
            one.signal(signal.SIGSTOP)
        task = asyncio.create_task(unpack(tmp_path, "t", digest(archive), workers))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        alive = [one for one in ahead if not one.ended(0)]
        assert len(alive) >= len(ahead) - 1
        for one in alive:
            one.signal(signal.SIGCONT)
        await unpack(tmp_path, "last", digest(archive), workers)
        await workers.close()
        assert all(one.ended(20) for one in ahead)
    assert not (tmp_path / "t.record").exists()
    assert list((tmp_path / "t").glob("*")) == []


async def test_a_nursery_that_has_ended_is_replaced(tmp_path: Path, archive: bytes, workers: Workers) -> None:
    await unpack(tmp_path, "a", digest(archive), workers)
    pid = nursery(workers)
    os.kill(pid, signal.SIGKILL)
    assert workers._nursery is not None
    workers._nursery._process.wait()
    await unpack(tmp_path, "b", digest(archive), workers)
    assert nursery(workers) != pid


async def test_a_nursery_that_ends_in_between_is_told(tmp_path: Path, archive: bytes, workers: Workers) -> None:
    await unpack(tmp_path, "a", digest(archive), workers)
    os.kill(nursery(workers), signal.SIGSTOP)
    task = asyncio.create_task(unpack(tmp_path, "b", digest(archive), workers))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.kill(nursery(workers), signal.SIGKILL)
    with pytest.raises(Internal, match="process that starts unpack workers"):
        await task


async def test_a_nursery_is_started_ahead_and_ends_when_it_was_for_nothing(
    tmp_path: Path, archive: bytes, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.prepare()
    first = nursery(workers)
    workers.prepare()
    await unpack(tmp_path, "a", digest(archive), workers)
    assert nursery(workers) == first
    await workers.close()
    monkeypatch.setattr("podyard.images.unpack.workers.IDLE_LIMIT", 0.05)
    workers.prepare()
    while workers._nursery is not None:
        await asyncio.sleep(0.01)


async def test_waiting_workers_that_were_killed_are_replaced(tmp_path: Path, archive: bytes, workers: Workers) -> None:
    await unpack(tmp_path, "a", digest(archive), workers)
    pids = await waiting(workers)
    assert len(pids) == AHEAD - 1
    for pid in pids:
        with Held(pid) as one:
            one.signal(signal.SIGKILL)
            assert one.ended(20)
    await unpack(tmp_path, "b", digest(archive), workers)
    assert (tmp_path / "b/f").stat().st_size == 1000
    await cannot_reach_others(workers)


async def test_a_waiting_worker_cannot_reach_the_others(tmp_path: Path, archive: bytes, workers: Workers) -> None:
    await unpack(tmp_path, "a", digest(archive), workers)
    await cannot_reach_others(workers)


async def cannot_reach_others(workers: Workers) -> None:
    """Each waiting worker has one socket: where it had another's descriptors, nobody would see that one end."""
    pids = await waiting(workers)
    assert pids
    for pid in pids:
        opened = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert len([target for target in opened if target.startswith("socket:")]) == 1


async def test_an_idle_nursery_ends(
    tmp_path: Path, archive: bytes, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.images.unpack.workers.IDLE_LIMIT", 0.05)
    await unpack(tmp_path, "a", digest(archive), workers)
    pid = nursery(workers)
    while workers._nursery is not None:
        await asyncio.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
    await unpack(tmp_path, "b", digest(archive), workers)


@pytest.fixture
def upper(tmp_path: Path) -> bytes:
    """A layer that leaves out the directory of its file, in the file "blob"; the layer below has it in "lower"."""
    (tmp_path / "lower").mkdir()
    content = archives.file(b"d/f", b"x") + archives.END
    (tmp_path / "blob").write_bytes(content)
    return content


async def test_a_worker_waits_for_the_layers_below(tmp_path: Path, upper: bytes, workers: Workers) -> None:
    below: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    (tmp_path / "t").mkdir()
    heard = asyncio.Event()
    task = asyncio.create_task(
        unpack_layer(
            tmp_path / "blob",
            TAR,
            tmp_path / "t",
            diff_id=digest(upper),
            lower=[tmp_path / "lower"],
            below=below,
            workers=workers,
            on_progress=lambda _: heard.set(),
            limits=Limits(stall=20),
        )
    )
    await heard.wait()
    # It has nothing else to do, and tells that it is still there.
    heard.clear()
    await heard.wait()
    assert not (tmp_path / "t/d").exists()
    (tmp_path / "lower/d").mkdir(mode=0o711)
    below.set_result(True)
    await task
    assert (tmp_path / "t/d").stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("early", [True, False])
async def test_a_worker_ends_when_what_is_below_fails(
    tmp_path: Path, upper: bytes, workers: Workers, early: bool
) -> None:
    below: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    if early:
        below.set_result(False)
    (tmp_path / "t").mkdir()
    lower = [tmp_path / "lower"]

    def fail(_: int) -> None:
        if not below.done():
            below.set_result(False)

    with pytest.raises(Internal, match="ended with exit code -9"):
        await unpack_layer(
            tmp_path / "blob",
            TAR,
            tmp_path / "t",
            diff_id=digest(upper),
            lower=lower,
            below=below,
            workers=workers,
            on_progress=fail,
        )


def test_workers_end_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys
from podyard.images.unpack import Workers
async def main():
    workers = Workers()
    os.mkfifo(sys.argv[1])
    os.mkdir(sys.argv[1] + "-t")
    request = {"tree": sys.argv[1] + "-t", "record": sys.argv[1], "output": ""}
    forked = await workers.start("packer", request)
    print(workers._nursery._process.pid, forked._pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(tmp_path / "pipe")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        pids = daemon.stdout.readline().split()
        pidfds = [os.pidfd_open(int(pid)) for pid in pids]
        daemon.kill()
    try:
        for pidfd in pidfds:
            assert select.select([pidfd], [], [], 20)[0]
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
