"""Pods that may be active for a limited time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.pods import PodEngine
from podyard.pods.deadline import EXCEEDED

MakePod = Callable[..., Pod]


async def kept(engine: PodEngine, pod: Pod) -> bool:
    """Keep a Pod until its end: whether it has ended for good."""
    return await asyncio.wait_for(engine.keep(pod, owned=lambda view: True), 20)


@pytest.mark.parametrize("never_ends", ["first", "main"])
async def test_a_pod_ends_for_good_at_its_deadline(
    runtime: Any, engine: PodEngine, make_pod: MakePod, never_ends: str
) -> None:
    pod = make_pod("activeDeadlineSeconds: 1\ninitContainers: [{name: first, image: 'busybox:1'}]")
    runtime.exits["first"] = [None if never_ends == "first" else 0]
    assert await kept(engine, pod)
    (view,) = await engine.find("web")
    assert (view.verdict, view.ready) == (EXCEEDED, False)
    assert {status.state for status in runtime.containers.values()} == {api.CONTAINER_EXITED}
    # Whoever comes later leaves it so.
    calls = list(runtime.calls)
    assert await kept(engine, pod)
    assert runtime.calls == calls


async def test_the_time_counts_across_whoever_looks_after_the_pod(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("activeDeadlineSeconds: 3600")
    task = asyncio.create_task(engine.keep(pod, owned=lambda view: True))
    async with asyncio.timeout(20):
        while "StartContainer main" not in runtime.calls:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    (sandbox,) = runtime.sandboxes.values()
    sandbox.created_at = time.time_ns() - 3601 * 10**9
    assert await kept(engine, pod)
    (view,) = await engine.find("web")
    assert view.verdict == EXCEEDED


async def test_a_pod_that_is_done_before_has_no_deadline(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits["main"] = [0]
    assert await kept(engine, make_pod("activeDeadlineSeconds: 3600\nrestartPolicy: Never"))
    (view,) = await engine.find("web")
    assert (view.verdict, view.containers[0].succeeded) == (None, True)


async def test_a_pod_run_by_hand_ends_at_its_deadline(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = make_pod("activeDeadlineSeconds: 1")
    running = await engine.run(pod)
    await asyncio.wait_for(engine.supervise(pod, running), 20)
    (view,) = await engine.find("web")
    assert (view.verdict, view.ready, view.containers[0].state) == (EXCEEDED, False, "exited")
