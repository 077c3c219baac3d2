"""Restarts by policy, with the kubelet's waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.client import Client
from podyard.cri import api
from podyard.errors import Cancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from podyard.manifest.model import Pod
from podyard.manifest.translate import kind_of
from podyard.pods import PodEngine, PodEvent, patience, supervise
from podyard.pods.restarts import BackOff, BackOffPolicy, starts_again

MakePod = Callable[..., Pod]


@pytest.mark.parametrize(
    ("policy", "kind", "exit_code", "again"),
    [
        ("Always", "container", 0, True),
        ("Always", "container", 1, True),
        ("OnFailure", "container", 0, False),
        ("OnFailure", "container", 1, True),
        ("Never", "container", 1, False),
        ("Always", "init", 0, False),
        ("Always", "init", 1, True),
        ("OnFailure", "init", 1, True),
        ("Never", "init", 1, False),
        ("Never", "sidecar", 0, True),
        ("Always", "ephemeral", 1, False),
    ],
)
def test_the_policy_says_what_starts_again(
    make_pod: MakePod, policy: str, kind: str, exit_code: int, again: bool
) -> None:
    others = {
        "init": "initContainers: [{name: it, image: a}]",
        "sidecar": "initContainers: [{name: it, image: a, restartPolicy: Always}]",
        "ephemeral": "ephemeralContainers: [{name: it, image: a}]",
    }
    pod = make_pod(f"restartPolicy: {policy}\n{others.get(kind, '')}")
    known = {container.name: container for container in (*pod.all_containers(), *pod.spec.ephemeral_containers)}
    assert starts_again(pod, known["main" if kind == "container" else "it"], exit_code) is again


IN, NOT_IN = "{operator: In, values: [3, 4]}", "{operator: NotIn, values: [3, 0]}"


@pytest.mark.parametrize(
    ("policy", "own", "rules", "again"),
    [
        ("Always", "Never", "", {}),
        ("Always", "OnFailure", "", {3, 5}),
        ("Never", "Always", "", {0, 3, 5}),
        ("Always", "Never", IN, {3}),
        ("Never", "OnFailure", IN, {3, 5}),
        ("Never", "Never", NOT_IN, {5}),
    ],
)
def test_a_containers_own_rules_and_policy_come_first(
    make_pod: MakePod, policy: str, own: str, rules: str, again: set[int]
) -> None:
    given = f", restartPolicyRules: [{{action: Restart, exitCodes: {rules}}}]" if rules else ""
    pod = make_pod(f"restartPolicy: {policy}", f"- {{name: main, image: a, restartPolicy: {own}{given}}}")
    assert {code for code in (0, 3, 5) if starts_again(pod, pod.spec.containers[0], code)} == set(again)
    assert kind_of(pod, pod.spec.containers[0]) == "container"


def test_waits_double_from_ten_seconds_to_five_minutes() -> None:
    back_off, now, waits = BackOff(BackOffPolicy()), 1000.0, []
    for _ in range(9):
        wait = back_off.wait(now, now)
        waits.append(wait)
        now += wait + 1  # it runs for a second
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_container_that_ran_for_ten_minutes_starts_over() -> None:
    back_off = BackOff(BackOffPolicy())
    assert [back_off.wait(1000, 1000), back_off.wait(1001, 1001)] == [0, 10]
    assert back_off.wait(1011 + 601, 1011 + 601) == 0
    assert back_off.wait(1011 + 602, 1011 + 604) == 8


def test_a_clock_that_was_set_back_makes_no_wait_longer() -> None:
    back_off = BackOff(BackOffPolicy())
    assert [back_off.wait(5000, 5000), back_off.wait(5001, 1001)] == [0, 10]


async def test_a_clock_that_is_set_back_during_a_wait_does_not_hold_up_the_restart(
    runtime: Any, client: Client, make_pod: MakePod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = PodEngine(client, tmp_path / "own", log_root=tmp_path / "logs", back_off=BackOffPolicy(first=1), poll=0)
    runtime.exits["main"] = [1, 1, 0]
    pod = make_pod("restartPolicy: OnFailure")
    running = await engine.run(pod)
    # The gRPC library has its own way with the clock: only the supervisor's is set.
    earlier = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)

    def watch(event: PodEvent) -> None:
        if event.step == "starting again" and event.detail.startswith("in "):
            monkeypatch.setattr(supervise, "time", earlier)

    await asyncio.wait_for(engine.supervise(pod, running, watch), 10)
    assert runtime.container("main", 2).exit_code == 0


async def test_a_container_that_started_in_the_future_is_probed(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    probe = "{exec: {command: [alive]}, periodSeconds: 1, failureThreshold: 1}"
    pod = make_pod("restartPolicy: Never", f"- {{name: main, image: 'busybox:1', livenessProbe: {probe}}}")
    runtime.exec_codes["alive"] = 1
    running = await engine.run(pod)
    runtime.container("main").started_at += 3600 * 10**9
    await asyncio.wait_for(engine.supervise(pod, running), 10)
    assert "StopContainer main" in runtime.calls


async def test_a_container_starts_again_until_it_succeeds(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    runtime.exits["main"] = [1, 1, 1, 0]
    pod = make_pod("restartPolicy: OnFailure\nvolumes: [{name: v, emptyDir: {}}]")
    running, events = await engine.run(pod), list[PodEvent]()
    await engine.supervise(pod, running, events.append)
    (view,) = await engine.find("web")
    assert [(one.restarts, one.exit_code) for one in view.containers] == [(3, 0)]
    assert [one.restarts for one in view.earlier] == [2]
    assert runtime.calls.count("StartContainer main") == 4
    ends = [event for event in events if event.step == "running the container"]
    assert [(event.state, event.detail) for event in ends] == [
        *[("failed", "exit code 1 (Error)")] * 3,
        ("done", "exit code 0 (Completed)"),
    ]
    folder = tmp_path / "pods" / f"default_web_{running.uid}"
    assert sorted(path.name for path in (folder / "containers" / "main").iterdir()) == ["2", "3"]


async def test_what_never_restarts_is_only_waited_for(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits["main"] = [7]
    pod = make_pod("restartPolicy: Never")
    await engine.supervise(pod, await engine.run(pod))
    assert runtime.calls.count("StartContainer main") == 1


async def test_a_pod_that_always_restarts_is_watched_until_it_is_stopped(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    third = asyncio.Event()
    runtime.exits["main"] = [0, 0, None]
    runtime.on_start = lambda status: third.set() if status.metadata.attempt == 2 else None
    pod = make_pod()
    running = await engine.run(pod)
    watching = asyncio.create_task(engine.supervise(pod, running))
    await asyncio.wait_for(third.wait(), 10)
    with pytest.raises(FailedPrecondition, match="another podyard"):
        await engine.supervise(pod, running)
    await engine.stop("web", "default")
    await asyncio.wait_for(watching, 10)
    assert runtime.calls.count("StartContainer main") == 3


async def test_what_somebody_stops_is_not_started_again(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = make_pod(containers="- {name: main, image: 'busybox:1'}\n- {name: slow, image: 'busybox:1'}")
    running = await engine.run(pod)
    watching = asyncio.create_task(engine.supervise(pod, running))

    async def hold(request: api.StopContainerRequest) -> None:
        # the supervisor looks at least once while one container has ended and the other takes its time
        if request.container_id == runtime.container("slow").id:
            for _ in range(3):
                runtime.looked.clear()
                await asyncio.wait_for(runtime.looked.wait(), 10)

    runtime.on_stop = hold
    await engine.stop("web", "default")
    await asyncio.wait_for(watching, 10)
    assert runtime.calls.count("StartContainer main") == 1


async def test_sidecars_start_again_and_are_stopped_last(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    again = asyncio.Event()
    runtime.exits["side"] = [0, None]
    runtime.on_start = lambda status: again.set() if status.metadata.attempt else None
    spec = """\
        restartPolicy: Never
        initContainers:
        - {name: side, image: 'busybox:1', restartPolicy: Always}
        - {name: logs, image: 'busybox:1', restartPolicy: Always}
        """
    pod = make_pod(spec)
    running = await engine.run(pod)
    watching = asyncio.create_task(engine.supervise(pod, running))
    await asyncio.wait_for(again.wait(), 10)
    runtime.end(runtime.container("main"), 0)
    await asyncio.wait_for(watching, 10)
    assert runtime.calls[-2:] == ["StopContainer logs", "StopContainer side"]
    (view,) = await engine.find("web")
    assert {one.name: (one.state, one.restarts) for one in view.containers} == {
        "side": ("exited", 1),
        "logs": ("exited", 0),
        "main": ("exited", 0),
    }


async def test_what_cannot_be_started_is_tried_again(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits["main"] = [1, 0]
    pod = make_pod("restartPolicy: OnFailure")
    running, events = await engine.run(pod), list[PodEvent]()
    runtime.fails["CreateContainer main"] = InvalidArgument("injected")

    def watch(event: PodEvent) -> None:
        events.append(event)
        if (event.step, event.state) == ("starting again", "failed"):
            runtime.fails.clear()

    await engine.supervise(pod, running, watch)
    assert any("injected" in event.detail for event in events)
    assert runtime.container("main", 1).exit_code == 0


async def test_a_container_left_created_is_started(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = make_pod("restartPolicy: OnFailure")
    running = await engine.run(pod)
    runtime.container("main").state = api.CONTAINER_CREATED
    runtime.exits["main"] = [0]
    await engine.supervise(pod, running)
    assert [(one.metadata.attempt, one.exit_code) for one in runtime.containers.values()] == [(0, 0)]
    assert runtime.calls.count("CreateContainer main") == 1


async def test_a_container_left_created_that_cannot_be_started_is_made_anew(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("restartPolicy: OnFailure")
    running = await engine.run(pod)
    runtime.container("main").state = api.CONTAINER_CREATED
    runtime.fails["StartContainer main"] = InvalidArgument("injected")
    runtime.exits["main"] = [0]

    def watch(event: PodEvent) -> None:
        if (event.step, event.state) == ("starting again", "failed"):
            runtime.fails.clear()

    await engine.supervise(pod, running, watch)
    assert runtime.calls.count("RemoveContainer main/0") == 1
    assert [(one.metadata.attempt, one.exit_code) for one in runtime.containers.values()] == [(0, 0)]


async def test_a_start_that_found_the_runtime_away_is_repeated_without_a_wait(
    runtime: Any, client: Client, make_pod: MakePod, tmp_path: Path
) -> None:
    engine = PodEngine(client, tmp_path / "own", log_root=tmp_path / "logs", back_off=BackOffPolicy(first=3600), poll=0)
    runtime.exits["main"] = [1, 0]
    pod = make_pod("restartPolicy: OnFailure")
    running, events = await engine.run(pod), list[PodEvent]()
    runtime.fails["CreateContainer main"] = Unavailable("injected")

    def watch(event: PodEvent) -> None:
        events.append(event)
        if (event.step, event.state) == ("starting again", "failed"):
            runtime.fails.clear()

    await asyncio.wait_for(engine.supervise(pod, running, watch), 10)
    assert any("injected" in event.detail for event in events)
    assert runtime.container("main", 1).exit_code == 0


async def test_a_pod_that_is_gone_is_not_supervised(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = make_pod()
    running = await engine.run(pod)
    await engine.remove("web", "default")
    await engine.supervise(pod, running)
    assert runtime.calls.count("StartContainer main") == 1


async def test_supervision_survives_a_restart_of_the_runtime(
    runtime: Any, daemon: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("restartPolicy: OnFailure")
    running = await engine.run(pod)
    watching = asyncio.create_task(engine.supervise(pod, running))
    await daemon.stop()
    await daemon.until_missed()
    # ended while nobody could be asked
    runtime.end(runtime.container("main"), 1)
    runtime.exits["main"] = [0]
    await daemon.start()
    await asyncio.wait_for(watching, 30)
    assert runtime.container("main", 1).exit_code == 0


async def test_supervision_ends_with_the_error_of_a_runtime_that_stays_away(
    runtime: Any, daemon: Any, engine: PodEngine, make_pod: MakePod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ABSENCE", 0.0)
    pod = make_pod()
    running = await engine.run(pod)
    watching = asyncio.create_task(engine.supervise(pod, running))
    await daemon.stop()
    with pytest.raises((Unavailable, DeadlineExceeded, Cancelled)):
        await asyncio.wait_for(watching, 30)
