"""What Pods take of the disk, measured now and then."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from podyard.client import Client
from podyard.node import disks
from podyard.node.disks import DiskUsage
from podyard.pods import PodEngine, PodView


def view(name: str) -> PodView:
    return PodView(name=name, namespace="default", uid="u", sandbox_id="s", ips=(), containers=())


async def test_a_pod_is_measured_again_after_a_while(client: Client, tmp_path: Path) -> None:
    engine = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    now = [1000.0]
    usage = DiskUsage(engine, lambda: now[0])
    web = view("web")
    folder = engine.folder(web)
    folder.volume("data").mkdir(parents=True)
    (folder.logs / "main").mkdir(parents=True)
    (folder.logs / "main" / "0.log").write_bytes(bytes(4096))
    found = (await usage.read([web]))["u"]
    assert (found.time, found.volumes["data"].used.size, found.logs["main"].used.size) == (1000.0, 0, 4096)
    (folder.volume("data") / "file").write_bytes(bytes(8192))
    now[0] += 59
    assert (await usage.read([web]))["u"] == found
    now[0] += 1
    found = (await usage.read([web]))["u"]
    assert (found.time, found.volumes["data"].used.size) == (1060.0, 8192)
    assert found.volumes["data"].file_system.capacity > 8192
    assert await usage.read([]) == {}


async def test_nobody_waits_long_for_a_slow_disk(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "PATIENCE", 0.01)
    release, measured = threading.Event(), disks.measured
    monkeypatch.setattr(disks, "measured", lambda folder, now: (release.wait(20), measured(folder, now))[1])
    usage = DiskUsage(PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs"))
    assert await usage.read([view("web")]) == {}
    assert await usage.read([view("web")]) == {}  # the same measurement goes on
    release.set()
    async with asyncio.timeout(20):
        while not await usage.read([view("web")]):
            pass
    await usage.close()
