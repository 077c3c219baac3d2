"""What Pods use, and what is cleared up, as the runtime and the disk tell it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.node.agent import Agent
from podyard.node.housekeeping import Housekeeper, Settings
from podyard.node.housekeeping.ranking import Candidate
from podyard.node.housekeeping.thresholds import Signal, parse_hard
from podyard.pods import PodEngine
from podyard.pods.verdict import Verdict

KIB = 1 << 10
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: main
    image: 'busybox:1'
    resources: {requests: {memory: 10Ki, ephemeral-storage: 1Ki}, limits: {memory: 20Ki}}
  - {name: side, image: 'busybox:1'}
"""


@dataclass
class Kept:
    """A Pod "web" of two containers, and a housekeeper."""

    keeper: Housekeeper
    engine: PodEngine
    agent: Agent
    folder: Path

    async def candidate(self, signal: Signal, *, own: bool = False) -> Candidate:
        (found,) = await self.keeper.candidates(signal, own)
        return found


@pytest.fixture
async def kept(
    runtime: MemoryRuntime, client: Client, agents: Any, directory: Any, until: Any, tmp_path: Path
) -> AsyncIterator[Kept]:
    directory.write("web.yaml", POD)
    agent = agents.start()
    await until(lambda: "StartContainer side" in runtime.calls)
    engine = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    (view,) = await engine.find("web")
    folder = engine.folder(view)
    (folder.volume("data") / "file").write_bytes(bytes(40 * KIB))
    (folder.logs / "main" / "0.log").write_bytes(bytes(8 * KIB))
    yield Kept(Housekeeper(client, engine, agent, Settings(), tmp_path / "pods"), engine, agent, folder.path)


async def test_what_a_pod_uses_of_memory(kept: Kept, runtime: MemoryRuntime) -> None:
    runtime.memory = {"main": 30 * KIB, "side": 5 * KIB}
    found = await kept.candidate("memory.available")
    assert (found.used, found.requested) == (35 * KIB, 10 * KIB)
    assert found.containers == {"main": (30 * KIB, 10 * KIB), "side": (5 * KIB, 0)}


@pytest.mark.parametrize(
    ("signal", "own", "main", "whole"),
    [
        ("nodefs.available", False, 100 + 8, 100 + 8 + 7 + 40),
        ("nodefs.available", True, 8, 8 + 40),
        ("imagefs.available", True, 100, 107),
        ("imagefs.available", False, 100 + 8, 100 + 8 + 7 + 40),
    ],
)
async def test_what_a_pod_uses_of_the_disk(
    kept: Kept, runtime: MemoryRuntime, *, signal: Signal, own: bool, main: int, whole: int
) -> None:
    runtime.layers = {"main": 100 * KIB, "side": 7 * KIB}
    found = await kept.candidate(signal, own=own)
    assert (found.used, found.requested) == (whole * KIB, KIB)
    assert found.containers["main"] == (main * KIB, KIB)


async def test_inodes_are_counted(kept: Kept) -> None:
    found = await kept.candidate("nodefs.inodesFree")
    assert (found.used, found.requested, found.containers["main"]) == (2, 0, (1, 0))


async def test_pods_that_end_or_have_ended_are_no_candidates(kept: Kept, runtime: MemoryRuntime) -> None:
    (view,) = await kept.engine.find("web")
    await kept.keeper.end(view, Verdict("Evicted", "low", disruption=True, grace=1))
    assert await kept.keeper.candidates("memory.available", False) == []


async def test_room_is_made_of_dead_containers_and_of_images(kept: Kept, runtime: MemoryRuntime, until: Any) -> None:
    runtime.add_image("other:1")
    await kept.keeper.reclaim(images=True)  # what runs keeps its image
    assert [image.repo_tags[0] for image in runtime.images.values()] == ["busybox:1"]
    (view,) = await kept.engine.find("web")
    await kept.keeper.end(view, Verdict("Evicted", "low", disruption=True, grace=1))
    await kept.keeper.reclaim(images=False)
    assert not runtime.containers
    assert not (kept.folder / "volumes").exists()
    assert len(runtime.images) == 1
    await until(lambda: kept.agent.workers["default/web"].has_ended)
    await kept.keeper.reclaim(images=True)  # nobody starts it again
    assert not runtime.images


async def test_other_peoples_pods_are_left_alone(kept: Kept, runtime: MemoryRuntime) -> None:
    """A Pod of no source of this agent's, with attempts that nobody has removed."""
    for sandbox in runtime.sandboxes.values():
        sandbox.annotations["podyard.io/origin"] = "/elsewhere/web.yaml"
    before = len(runtime.containers)
    await kept.keeper.tidy(hard=True)
    assert len(runtime.containers) == before
    assert await kept.keeper.candidates("memory.available", False) == []


async def test_it_runs_by_itself(
    kept: Kept, client: Client, runtime: MemoryRuntime, until: Any, tmp_path: Path
) -> None:
    hungry = Settings(thresholds=parse_hard("memory.available<1000Ti"), interval=0.01)
    running = asyncio.create_task(Housekeeper(client, kept.engine, kept.agent, hungry, tmp_path).run())
    await until(lambda: runtime.stop_timeouts.keys() == {"main", "side"})
    (view,) = await kept.engine.find("web")
    assert view.verdict is not None
    assert view.verdict.message.startswith("The node was low on resource: memory. Threshold quantity: 1000Ti")
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
