"""Pulls that are cut, starved and killed anywhere: each ends in a whole image or a clear error, and the next completes
it; afterwards the check and the collection find nothing wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import registry
from tests.support.faulty import Proxy, alter, cut, redirect, status
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import PodyardError, ResourceExhausted
from podyard.images.fsck import problems
from podyard.images.layout import LayoutWriter, directory, file
from podyard.images.store import ImageStore
from podyard.linux import mounts

KILLS = int(os.environ.get("PODYARD_TEST_KILLS", "8"))
"""How often the process is killed. 50 take some 15 seconds."""


async def clean(store: ImageStore) -> None:
    """Nothing is wrong, and nothing is there that only a crash leaves."""
    assert problems((await store.check()).findings) == []
    for item in store.garbage.survey():
        assert item.held or item.why.startswith("a failed pull has left it"), item


async def test_a_layer_cut_at_every_tenth_comes_whole(proxy: Proxy, pushed: Pushed, make_store: MakeStore) -> None:
    store = await make_store(parts_age=3600.0, attempts=2)
    name = f"{proxy.address}/{pushed.repository}:1"
    for tenth in range(11):
        proxy.seen.clear()
        proxy.fault(pushed.layers[1], cut(len(pushed.last) * tenth // 10))
        assert (await store.pull(name)).id == pushed.manifest.image_id
        await clean(store)
        asked = [headers.get("Range") for path, headers in proxy.seen if pushed.layers[1] in path]
        assert len(asked) == (1 if tenth == 10 else 2)
        await store.remove(name)
        assert [item for item in store.garbage.survey() if item.kind != "part"] == []


async def stay_silent(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Announce the body and send nothing."""
    response = web.StreamResponse(headers={"Content-Length": str(len(_body(answer)))})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while not request.transport.is_closing():  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
    return response


def _body(answer: web.Response) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body


def _flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


FAULTS = {
    "cut": cut(50),
    "429": status(429),
    "500": status(500),
    "401": status(401),
    "longer": alter(lambda body: body + b"x"),
    "shorter": alter(lambda body: body[:-1]),
    "another digest": alter(_flipped),
    "hang": stay_silent,
    "redirect to nobody": redirect(lambda request: "http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
async def test_after_any_fault_the_next_pull_completes_the_image(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, part: str
) -> None:
    store = await make_store(parts_age=3600.0, attempts=2, progress_timeout=0.3)
    name = f"{proxy.address}/{pushed.repository}:1"
    for fault in FAULTS.values():
        proxy.fault(part, fault, times=99)
        with pytest.raises(PodyardError, match=pushed.repository):
            await store.pull(name)
        assert store.images() == []
        await clean(store)
        proxy.heal()
        assert (await store.pull(name)).id == pushed.manifest.image_id
        await clean(store)
        await store.remove(name)
        await store.garbage.run()


async def test_a_layer_that_only_drips_comes_whole(proxy: Proxy, pushed: Pushed, make_store: MakeStore) -> None:
    async def drip(request: web.Request, answer: web.Response) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(pushed.last))})
        await response.prepare(request)
        for start in range(0, len(pushed.last), 20_000):
            await response.write(pushed.last[start : start + 20_000])
            await asyncio.sleep(0.01)
        return response

    # Far less than the whole takes: it counts from the last byte.
    store = await make_store(attempts=1, progress_timeout=0.2)
    proxy.fault(pushed.layers[1], drip)
    await store.pull(f"{proxy.address}/{pushed.repository}:1")
    await clean(store)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system; its size can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounts.mount_tmpfs(folder, "size=8m")
    yield folder
    mounts.remove_tree(folder)


def leave_free(disk: Path, free: int) -> None:
    """Make the file system so large that there are ``free`` bytes left."""
    status = os.statvfs(disk)
    size = (status.f_blocks - status.f_bfree) * status.f_frsize + free
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@pytest.mark.host
async def test_a_disk_that_is_full_at_any_byte_leaves_nothing(
    upstream: str, layout: LayoutWriter, make_store: MakeStore, disk: Path
) -> None:
    noise = random.Random(1)
    trees = [
        {f"d{number}": directory(), **{f"d{number}/{n}": file(noise.randbytes(9_000)) for n in range(20)}}
        for number in range(3)
    ]
    registry.push(upstream, layout, layout.add_image(trees), "full/any", "1")
    store = await make_store(disk / "images", parts_age=3600.0)
    failed = 0
    # Some 1.2 MB are needed at once. The database stands on the same disk.
    for free in range(50_000, 1_550_000, 125_000):
        leave_free(disk, free)
        try:
            await store.pull(f"{upstream}/full/any:1")
        except ResourceExhausted:
            failed += 1
            assert store.garbage.survey() == []
        leave_free(disk, 8 << 20)
        await store.pull(f"{upstream}/full/any:1")
        await clean(store)
        await store.remove(f"{upstream}/full/any:1")
    assert failed > 3


KILLED = """
import asyncio, os, signal, sys, time
from pathlib import Path
import aiohttp
from podyard.images.config import ImagesConfig
from podyard.images.store import ImageStore
from podyard.state.database import Database

async def pull(folder, *names):
    config = ImagesConfig(hosts_dirs=[], registries_conf=Path("/none"), auth_files=[], signature_policy=None)
    store = ImageStore(Path(folder), Database(Path(folder + ".db")), config, set)
    await store.start()
    await asyncio.gather(*(store.pull(name) for name in names))
    for name in names:
        await store.remove(name)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        asyncio.run(pull(*sys.argv[1:]))
        os._exit(0)
    time.sleep(float(line))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print("killed", flush=True)
"""


@pytest.mark.host
async def test_a_kill_at_a_random_instant_is_survived(
    upstream: str, pushed: Pushed, layout: LayoutWriter, make_store: MakeStore, tmp_path: Path
) -> None:
    other = layout.add_image([*pushed.written, {"f": file("f" * 100_000)}, {"g": file("g")}])
    registry.push(upstream, layout, other, "killed/other", "1")
    names = [f"{upstream}/{pushed.repository}:1", f"{upstream}/killed/other:1"]
    chance = random.Random(7)
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "images"), *names]
    outcomes = set()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for number in range(KILLS):
            killer.stdin.write(f"{chance.uniform(0, 0.4)}\n")
            killer.stdin.flush()
            assert await asyncio.to_thread(killer.stdout.readline) == "killed\n"
            store = await make_store(parts_age=3600.0)
            await clean(store)
            outcomes.add(len(store.images()))
            if number % 4 == 3:
                assert (await store.pull(names[1])).id == other.image_id
                await clean(store)
                await store.remove(names[1])
            await store.close()
            store._catalog._records._db.close()
        killer.stdin.close()
        assert killer.wait(timeout=10) == 0
    assert outcomes
