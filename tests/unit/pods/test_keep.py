"""Going on with a Pod from whatever there is of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.keeping import MakePod, keeping, runs, starts, until

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.pods import Board, PodEngine


async def test_what_runs_goes_on_unchanged(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = make_pod("initContainers: [{name: first, image: 'busybox:1'}]")
    runtime.exits["first"] = [0]
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    before = len(runtime.calls)
    async with keeping(engine, pod):
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 10)
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 10)
    assert runtime.calls[before:] == []


async def test_init_containers_that_somebody_removed_do_not_run_again_beside_the_containers(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("initContainers: [{name: first, image: 'busybox:1'}]")
    runtime.exits["first"] = [0]
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    del runtime.containers[runtime.container("first").id]
    async with keeping(engine, pod):
        runtime.end(runtime.container("main"), 1)
        await until(lambda: starts(runtime) == 2)
    assert starts(runtime, "first") == 1


async def test_a_sidecar_that_does_not_start_does_not_keep_containers_of_an_earlier_start_from_being_looked_after(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    probe = "{exec: {command: [started]}, periodSeconds: 1, failureThreshold: 3600}"
    pod = make_pod(
        f"initContainers: [{{name: side, image: 'busybox:1', restartPolicy: Always, startupProbe: {probe}}}]"
    )
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    runtime.exec_codes["started"] = 1
    async with keeping(engine, pod):
        runtime.end(runtime.container("main"), 1)
        await until(lambda: starts(runtime) == 2)


@pytest.mark.parametrize("killed_after", ["first", "second"])
async def test_a_start_that_was_interrupted_goes_on_with_the_init_container_it_had_come_to(
    runtime: Any, engine: PodEngine, make_pod: MakePod, killed_after: str
) -> None:
    pod = make_pod(
        "initContainers: [{name: first, image: 'busybox:1'}, {name: side, image: 'busybox:1', restartPolicy: Always}, "
        "{name: second, image: 'busybox:1'}]"
    )
    runtime.exits["first"] = [0 if killed_after == "second" else None]
    async with keeping(engine, pod):
        await until(runs(runtime, killed_after))
    runtime.end(runtime.container(killed_after), 0)
    runtime.exits["second"] = [0]
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    assert [starts(runtime, name) for name in ("first", "side", "second", "main")] == [1, 1, 1, 1]
    assert runtime.calls.count("RunPodSandbox web") == 1


@pytest.mark.parametrize("kept", [True, False])
async def test_a_sidecar_that_ends_while_init_containers_run_is_started_again(
    runtime: Any, engine: PodEngine, make_pod: MakePod, kept: bool
) -> None:
    pod = make_pod(
        "initContainers: [{name: side, image: 'busybox:1', restartPolicy: Always}, {name: needs, image: 'busybox:1'}]"
    )
    work = engine.keep(pod, owned=lambda view: True) if kept else engine.run(pod)
    starting = asyncio.create_task(work)
    try:
        await until(runs(runtime, "needs"))
        runtime.end(runtime.container("side"), 1)
        await until(lambda: starts(runtime, "side") == 2)
        assert starts(runtime) == 0
        runtime.end(runtime.container("needs"), 0)
        await until(runs(runtime, "main"))
        assert [starts(runtime, name) for name in ("side", "needs")] == [2, 1]
    finally:
        starting.cancel()
        await asyncio.wait([starting])


async def test_what_has_ended_for_good_is_not_run_again(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits["main"] = [0]
    pod = make_pod("restartPolicy: OnFailure")
    assert await engine.keep(pod, owned=lambda view: True)
    assert runtime.calls.count("StopPodSandbox") == 1
    assert await engine.keep(pod, owned=lambda view: True)
    assert (starts(runtime), runtime.calls.count("StopPodSandbox")) == (1, 1)


async def test_an_init_container_that_failed_for_good_ends_the_pod(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exits["first"] = [3]
    pod = make_pod("restartPolicy: Never\ninitContainers: [{name: first, image: 'busybox:1'}]")
    with pytest.raises(FailedPrecondition, match="exit code 3"):
        await engine.keep(pod, owned=lambda view: True)
    assert await engine.keep(pod, owned=lambda view: True)
    assert starts(runtime, "first") == 1


async def test_a_container_that_crashes_again_and_again_is_adopted(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exits["main"] = [1, None]
    pod = make_pod(containers="- {name: main, image: 'busybox:1'}\n- {name: other, image: 'busybox:1'}")
    running = await engine.run(pod)
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 2)
    assert starts(runtime, "other") == 1
    (view,) = await engine.find("web")
    assert view.uid == running.uid


async def test_a_container_that_cannot_be_started_does_not_keep_the_others(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    containers = "- {name: main, image: 'missing:1'}\n- {name: other, image: 'busybox:1'}"
    board = Board()
    async with keeping(engine, make_pod("restartPolicy: Never", containers=containers), board):
        await until(lambda: runtime.calls.count("PullImage missing:1") > 2)
        assert runs(runtime, "other")()
        assert board.waiting["main"].reason in ("ErrImagePull", "ImagePullBackOff")
        assert "missing:1 is not in the registry" in board.waiting["main"].message
        runtime.registry.add("missing:1")
        await until(runs(runtime, "main"))
        await until(lambda: board.waiting == {})


@pytest.mark.parametrize(
    ("call", "reason"),
    [("CreateContainer main", "CreateContainerError"), ("StartContainer main", "RunContainerError")],
)
async def test_the_board_says_what_could_not_be_done(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod, call: str, reason: str
) -> None:
    runtime.fails[call] = InvalidArgument("injected")
    board = Board()
    async with keeping(engine, make_pod(), board):
        await until(lambda: "main" in board.waiting)
        assert board.waiting["main"].reason == reason


async def test_a_container_that_was_made_and_never_started_is_started_whatever_the_policy(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("restartPolicy: Never")
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    runtime.container("main").state = api.CONTAINER_CREATED
    runtime.exits["main"] = [0]
    assert await asyncio.wait_for(engine.keep(pod, owned=lambda view: True), 10)
    assert [(one.metadata.attempt, one.exit_code) for one in runtime.containers.values()] == [(0, 0)]


@pytest.mark.parametrize("lasting", ["", ", restartPolicy: Always"])
async def test_an_init_container_that_was_made_and_never_started_is_started(
    runtime: Any, engine: PodEngine, make_pod: MakePod, lasting: str
) -> None:
    pod = make_pod(f"initContainers: [{{name: first, image: 'busybox:1'{lasting}}}]")
    runtime.exits["first"] = [None if lasting else 0]
    async with keeping(engine, pod):
        await until(runs(runtime, "main"))
    for left in [one for one in runtime.containers.values() if one.metadata.name == "main"]:
        del runtime.containers[left.id]
    runtime.container("first").state = api.CONTAINER_CREATED
    runtime.exits["first"] = [None if lasting else 0]
    async with keeping(engine, pod):
        await until(lambda: starts(runtime, "main") == 2)
    assert sorted((one.metadata.name, one.metadata.attempt) for one in runtime.containers.values()) == [
        ("first", 0),
        ("main", 0),
    ]
    assert runtime.calls.count("StartContainer first") == 2


async def test_a_pod_is_stopped_in_the_time_that_is_given_and_stays_to_be_looked_at(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    running = await engine.run(make_pod())
    await engine.halt(running, 7)
    assert runtime.stop_timeouts["main"] == 7
    (view,) = await engine.find("web")
    assert (view.ready, view.containers[0].state) == (False, "exited")
