"""Volumes that hold more than they may."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.manifest.model import Pod
from podyard.pods import Board, PodEngine
from podyard.pods.folders import PodFolder
from podyard.pods.usage import excess
from podyard.pods.verdict import Verdict

MakePod = Callable[..., Pod]

SPEC = "volumes: [{name: free, emptyDir: {}}, {name: cache, emptyDir: {sizeLimit: 64Ki}}]"
MAIN = "- {name: main, image: 'busybox:1', volumeMounts: [{name: cache, mountPath: /c}]}"
REASON = 'Usage of EmptyDir volume "cache" exceeds the limit "65536".'


def test_what_is_on_the_disk_counts_once(make_pod: MakePod, tmp_path: Path) -> None:
    pod, folder = make_pod(SPEC), PodFolder(tmp_path, tmp_path / "logs")
    cache = folder.volume("cache")
    (cache / "a").mkdir(parents=True)
    folder.volume("free").mkdir()
    (folder.volume("free") / "large").write_bytes(bytes(1 << 20))
    with (cache / "a" / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (cache / "a" / "one").write_bytes(bytes(40 << 10))
    os.link(cache / "a" / "one", cache / "two")
    (cache / "out").symlink_to(folder.volume("free"))
    assert excess(pod, folder, {}) == ""
    (cache / "three").write_bytes(bytes(40 << 10))
    assert excess(pod, folder, {}) == REASON


LIMITED = """
- {name: main, image: 'busybox:1', resources: {limits: {ephemeral-storage: 100Ki}}}
- {name: side, image: 'busybox:1', resources: {limits: {ephemeral-storage: 1Mi}}}
- {name: free, image: 'busybox:1'}
"""
KIB = 1 << 10


@pytest.mark.parametrize(
    ("layers", "log", "volume", "reason"),
    [
        ({"main": 100, "side": 1000, "free": 24}, 0, 0, ""),
        ({"main": 101}, 0, 0, 'Container main exceeded its local ephemeral storage limit "102400".'),
        ({"main": 64}, 40, 0, 'Container main exceeded its local ephemeral storage limit "102400".'),
        ({"free": 1124}, 0, 0, ""),
        ({"free": 1124}, 0, 4, "Pod ephemeral local storage usage exceeds the total limit of containers 1150976."),
        ({}, 0, 1200, "Pod ephemeral local storage usage exceeds the total limit of containers 1150976."),
    ],
)
def test_storage_of_containers_and_of_the_pod(
    make_pod: MakePod, tmp_path: Path, *, layers: dict[str, int], log: int, volume: int, reason: str
) -> None:
    pod, folder = make_pod("volumes: [{name: data, emptyDir: {}}]", LIMITED), PodFolder(tmp_path, tmp_path / "logs")
    folder.volume("data").mkdir(parents=True)
    (folder.logs / "main").mkdir(parents=True)
    (folder.volume("data") / "file").write_bytes(bytes(volume * KIB))
    (folder.logs / "main" / "0.log").write_bytes(bytes(log * KIB))
    assert excess(pod, folder, {name: size * KIB for name, size in layers.items()}) == reason


async def test_what_a_container_writes_beside_volumes_is_asked_of_the_endpoint(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.layers["main"] = 50 * KIB
    pod = make_pod("", "- {name: main, image: 'busybox:1', resources: {limits: {ephemeral-storage: 100Ki}}}")
    keeping = asyncio.create_task(engine.keep(pod, owned=lambda view: True))
    async with asyncio.timeout(20):
        while "ListContainerStats" not in runtime.calls:
            await asyncio.sleep(0.01)
    assert not keeping.done()
    runtime.layers["main"] = 101 * KIB
    assert await asyncio.wait_for(keeping, 20)
    (view,) = await engine.find("web")
    message = "Pod ephemeral local storage usage exceeds the total limit of containers 102400."
    assert view.verdict == Verdict("Evicted", message, grace=1)
    assert runtime.stop_timeouts["main"] == 1


async def test_a_pod_that_holds_too_much_ends_for_good(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod, board = make_pod(SPEC, MAIN), Board()
    keeping = asyncio.create_task(engine.keep(pod, owned=lambda view: True, board=board))
    async with asyncio.timeout(20):
        while "StartContainer main" not in runtime.calls:
            await asyncio.sleep(0.01)
    (path,) = [mount.host_path for mount in runtime.config("main").mounts if mount.container_path == "/c"]
    (Path(path) / "large").write_bytes(bytes(100 << 10))
    assert await asyncio.wait_for(keeping, 20)
    (view,) = await engine.find("web")
    assert (view.verdict, view.ready, view.containers[0].state) == (
        Verdict("Evicted", REASON, grace=1),
        False,
        "exited",
    )
    # Whoever comes later leaves it so.
    starts = runtime.calls.count("StartContainer main")
    assert await asyncio.wait_for(engine.keep(pod, owned=lambda view: True), 20)
    assert runtime.calls.count("StartContainer main") == starts
