"""Probes and hooks of Pods that run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.manifest.model import Pod
from podyard.pods import Board, PodEngine, PodEvent

MakePod = Callable[..., Pod]

PROBED = """\
- name: main
  image: 'busybox:1'
  startupProbe: {exec: {command: [begun]}, periodSeconds: 1}
  livenessProbe: {exec: {command: [alive]}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 7}
  readinessProbe: {exec: {command: [ready]}, periodSeconds: 1, failureThreshold: 1}
"""
HOOKED = """\
- name: main
  image: 'busybox:1'
  lifecycle: {postStart: {exec: {command: [hello]}}, preStop: {exec: {command: [bye]}}}
"""


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


async def kept(engine: PodEngine, pod: Pod, board: Board, on_event: Callable[[PodEvent], None]) -> bool:
    return await engine.keep(pod, owned=lambda view: True, board=board, on_event=on_event)


async def test_a_container_is_started_then_ready_then_neither(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exec_codes = {"begun": 1, "ready": 1}
    board, pod = Board(), make_pod(containers=PROBED)
    keeping = asyncio.create_task(kept(engine, pod, board, lambda event: None))
    await until(lambda: "ExecSync main begun" in runtime.calls)
    assert (board.started, board.ready) == (set(), set())
    assert not {"ExecSync main alive", "ExecSync main ready"} & set(runtime.calls)
    runtime.exec_codes = {"ready": 1}
    await until(lambda: "ExecSync main ready" in runtime.calls)
    main = runtime.container("main").id
    assert (board.started, board.ready) == ({main}, set())
    runtime.exec_codes = {}
    await until(lambda: board.ready == {main})
    runtime.exec_codes = {"ready": 1}
    await until(lambda: not board.ready)
    assert runtime.calls.count("StartContainer main") == 1
    assert "StopContainer main" not in runtime.calls
    await engine.remove("web", "default")
    await asyncio.wait_for(keeping, 10)
    assert (board.started, board.ready) == (set(), set())


@pytest.mark.parametrize("command", ["begun", "alive"])
async def test_a_container_whose_probe_fails_is_stopped_and_started_again_even_if_it_ends_well(
    runtime: Any, engine: PodEngine, make_pod: MakePod, command: str
) -> None:
    runtime.exec_codes = {command: 1}
    events: list[PodEvent] = []
    runtime.on_start = lambda status: runtime.exec_codes.clear() if status.metadata.attempt else None

    async def end_well(request: Any) -> None:
        runtime.end(runtime.containers[request.container_id], 0)

    runtime.on_stop = end_well
    containers = PROBED.replace("startupProbe: {", "startupProbe: {failureThreshold: 1, ")
    board, pod = Board(), make_pod("restartPolicy: OnFailure", containers=containers)
    keeping = asyncio.create_task(kept(engine, pod, board, events.append))
    await until(lambda: runtime.calls.count("StartContainer main") == 2)
    assert runtime.stop_timeouts["main"] == (7 if command == "alive" else 30)
    kind = {"begun": "startup", "alive": "liveness"}[command]
    assert any(event.step == f"running the {kind} probe of" and event.state == "failed" for event in events)
    await until(lambda: board.unhealthy == set())  # only once the call has been answered
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_hook_after_the_start_that_fails_stops_the_container(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exec_codes = {"hello": 4}
    with pytest.raises(FailedPrecondition, match=r"the hook failed .*exit code 4: said"):
        await engine.run(make_pod(containers=HOOKED))
    hello = runtime.calls.index("ExecSync main hello")
    assert runtime.calls[hello:] == ["ExecSync main hello", "ExecSync main bye", "StopContainer main"]


@pytest.mark.parametrize("code", [0, 5])
async def test_the_hook_before_a_stop_runs_first_and_does_not_keep_the_container(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod, code: int
) -> None:
    runtime.exec_codes = {"bye": code}
    await engine.run(make_pod("terminationGracePeriodSeconds: 9", containers=HOOKED))
    events: list[PodEvent] = []
    await engine.stop("web", "default", on_event=events.append)
    bye = runtime.calls.index("ExecSync main bye")
    assert runtime.calls[bye : bye + 3] == ["ExecSync main bye", "StopContainer main", "StopPodSandbox"]
    assert 2 <= runtime.stop_timeouts["main"] <= 9
    (told,) = [event for event in events if event.step == "running the preStop hook of"]
    assert told.state == ("failed" if code else "done")


async def test_a_stop_without_grace_runs_no_hook(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    await engine.run(make_pod(containers=HOOKED))
    await engine.stop("web", "default", 0)
    assert "ExecSync main bye" not in runtime.calls
    assert runtime.stop_timeouts["main"] == 0


SIDE = """\
initContainers:
- {name: side, image: 'busybox:1', restartPolicy: Always, startupProbe: {exec: {command: [begun]}, failureThreshold: 1}}
- {name: next, image: 'busybox:1'}
"""


async def test_what_comes_after_a_sidecar_waits_for_its_startup_probe(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exec_codes = {"begun": 1}
    runtime.exits["next"] = [0]
    runtime.on_start = lambda status: runtime.exec_codes.clear() if status.metadata.attempt else None
    board = Board()
    keeping = asyncio.create_task(kept(engine, make_pod(SIDE), board, lambda event: None))
    await until(lambda: "StartContainer main" in runtime.calls)
    order = ["StartContainer side", "StopContainer side", "StartContainer side", "StartContainer next"]
    assert [call for call in runtime.calls if call in order] == order
    assert board.started >= {runtime.container("side", 1).id}
    asked = runtime.calls.count("ExecSync side begun")
    await until(lambda: board.started >= {runtime.container("main").id})
    assert runtime.calls.count("ExecSync side begun") == asked
    await engine.remove("web", "default")
    await asyncio.wait_for(keeping, 10)


async def test_a_sidecar_that_ends_before_it_has_started_is_started_again(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exec_codes = {"begun": 1}
    runtime.exits |= {"side": [5, None], "next": [0]}
    runtime.on_start = lambda status: runtime.exec_codes.clear() if status.metadata.attempt else None
    pod = make_pod(SIDE.replace("failureThreshold: 1", "failureThreshold: 99, periodSeconds: 1"))
    await asyncio.wait_for(engine.run(pod), 10)
    assert runtime.container("side", 1).state == api.CONTAINER_RUNNING
    assert "StopContainer side" not in runtime.calls
