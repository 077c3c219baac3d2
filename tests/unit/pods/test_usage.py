"""Volumes that hold more than they may."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    assert excess(pod, folder) == ""
    (cache / "three").write_bytes(bytes(40 << 10))
    assert excess(pod, folder) == REASON


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
    assert (view.verdict, view.ready, view.containers[0].state) == (Verdict("Evicted", REASON), False, "exited")
    # Whoever comes later leaves it so.
    starts = runtime.calls.count("StartContainer main")
    assert await asyncio.wait_for(engine.keep(pod, owned=lambda view: True), 20)
    assert runtime.calls.count("StartContainer main") == starts
