"""Running a Pod: the order of the calls, what is told, and what happens when one fails."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.client import Client
from podyard.cri import api
from podyard.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from podyard.manifest.model import Pod
from podyard.pods import PodEngine, PodEvent

MakePod = Callable[..., Pod]

TWO = "- {name: main, image: 'busybox:1'}\n- {name: helper, image: 'other:1'}"
INIT = "initContainers: [{name: first, image: 'busybox:1'}, {name: second, image: 'busybox:1'}]\n"


def steps(events: list[PodEvent], state: str = "done") -> list[str]:
    return [f"{event.step} {event.subject}" for event in events if event.state == state]


async def test_the_steps_come_in_their_order(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits |= {"first": [0], "second": [0]}
    events: list[PodEvent] = []
    running = await engine.run(make_pod(INIT, TWO), on_event=events.append)
    assert sorted(runtime.calls[:2]) == ["PullImage busybox:1", "PullImage other:1"]
    assert runtime.calls[2:] == [
        "RunPodSandbox web",
        "CreateContainer first",
        "StartContainer first",
        "CreateContainer second",
        "StartContainer second",
        "CreateContainer main",
        "StartContainer main",
        "CreateContainer helper",
        "StartContainer helper",
    ]
    assert running.ips == ("10.0.0.2", "fd00::2")
    assert [(view.name, view.state, view.init) for view in running.containers] == [
        ("first", "exited", True),
        ("second", "exited", True),
        ("main", "running", False),
        ("helper", "running", False),
    ]
    assert sorted(steps(events)[:2]) == ["pulling the image busybox:1", "pulling the image other:1"]
    assert steps(events)[2:7] == [
        "preparing the volumes of default/web",
        "running the sandbox of default/web",
        "creating the container first",
        "starting the container first",
        "running the init container first",
    ]
    assert all(event.seconds is not None for event in events if event.state == "done")
    assert steps(events, "begun")[-1] == "starting the container helper"


async def test_the_pods_files_are_made_where_a_kubelets_are(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    spec = "hostAliases: [{ip: 192.0.2.1, hostnames: [db]}]\nvolumes: [{name: shared, emptyDir: {}}]"
    containers = "- {name: main, image: 'busybox:1', volumeMounts: [{name: shared, mountPath: /s}]}"
    running = await engine.run(make_pod(spec, containers))
    folder = tmp_path / "pods" / f"default_web_{running.uid}"
    logs = tmp_path / "logs" / f"default_web_{running.uid}"
    mounts = {mount.container_path: Path(mount.host_path) for mount in runtime.config("main").mounts}
    assert mounts.keys() == {"/s", "/etc/hosts", "/dev/termination-log"}
    assert mounts["/s"] == folder / "volumes" / "shared"
    assert stat.S_IMODE(mounts["/s"].stat().st_mode) == 0o777
    assert "10.0.0.2\tweb" in mounts["/etc/hosts"].read_text()
    assert "192.0.2.1\tdb" in mounts["/etc/hosts"].read_text()
    assert stat.S_IMODE(mounts["/dev/termination-log"].stat().st_mode) == 0o666
    assert running.containers[0].log_path == logs / "main" / "0.log"
    assert (logs / "main").is_dir()


async def test_only_what_the_policy_asks_for_is_pulled(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.add_image("busybox:1")
    runtime.add_image("other:1")
    containers = TWO.replace("'other:1'", "'other:1', imagePullPolicy: Always")
    await engine.run(make_pod("", containers))
    assert [call for call in runtime.calls if call.startswith("PullImage")] == ["PullImage other:1"]


async def test_a_missing_image_that_must_not_be_pulled_is_not_found(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    pod = make_pod("", "- {name: main, image: 'busybox:1', imagePullPolicy: Never}")
    with pytest.raises(NotFound, match="busybox:1 is not there and imagePullPolicy is Never"):
        await engine.run(pod)
    assert runtime.calls == []
    assert list((tmp_path / "pods").iterdir()) == []


async def test_an_image_that_runs_as_root_is_refused_before_anything_is_made(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("securityContext: {runAsNonRoot: true}")
    runtime.add_image("busybox:1")
    with pytest.raises(InvalidArgument, match="runs as root"):
        await engine.run(pod)
    assert runtime.calls == []
    runtime.add_image("busybox:1", uid=7)
    assert (await engine.run(pod)).running


async def test_a_failed_sandbox_leaves_no_files_and_names_the_step(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    runtime.fails["RunPodSandbox web"] = ResourceExhausted("no address is left")
    events: list[PodEvent] = []
    with pytest.raises(ResourceExhausted, match=r"no address is left.* \(while running the sandbox of default/web\)"):
        await engine.run(make_pod("volumes: [{name: a, emptyDir: {}}]"), on_event=events.append)
    assert list((tmp_path / "pods").iterdir()) == []
    assert list((tmp_path / "logs").iterdir()) == []
    assert steps(events, "failed") == ["running the sandbox of default/web"]


async def test_a_failed_container_leaves_the_pod_for_inspection_and_a_new_run_replaces_it(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.fails["StartContainer helper"] = InvalidArgument("no such program /bin/x")
    with pytest.raises(InvalidArgument, match=r"/bin/x.*\(while starting the container helper\)"):
        await engine.run(make_pod("", TWO))
    (left,) = await engine.list()
    assert [(view.name, view.state) for view in left.containers] == [("main", "running"), ("helper", "created")]
    runtime.fails.clear()
    again = await engine.run(make_pod("", TWO))
    assert again.uid != left.uid
    assert [view.uid for view in await engine.list()] == [again.uid]


async def test_the_same_manifest_again_finds_the_pod_running(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    first = await engine.run(make_pod("", TWO))
    made, events = list(runtime.calls), []
    second = await engine.run(make_pod("", TWO), on_event=events.append)
    assert (second.uid, second.sandbox_id) == (first.uid, first.sandbox_id)
    assert runtime.calls == made
    assert steps(events) == ["already running default/web"]


async def test_a_changed_manifest_is_refused_while_the_pod_runs(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod())
    with pytest.raises(AlreadyExists, match="podyard rm web"):
        await engine.run(make_pod("", TWO))
    assert (await engine.find("web"))[0].running


async def test_a_pod_that_ended_is_removed_and_run_again(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    runtime.exits["main"] = [0, None]
    pod = make_pod("restartPolicy: Never")
    first = await engine.run(pod)
    second = await engine.run(pod)
    assert first.uid != second.uid
    assert [path.name for path in (tmp_path / "pods").iterdir()] == [f"default_web_{second.uid}"]
    assert len(runtime.sandboxes) == 1


async def test_somebody_elses_pod_is_left_alone(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod
) -> None:
    metadata = api.PodSandboxMetadata(name="web", namespace="default", uid="theirs")
    await client.runtime.run_pod_sandbox(api.PodSandboxConfig(metadata=metadata))
    with pytest.raises(AlreadyExists, match="a different pod default/web"):
        await engine.run(make_pod())
    assert len(runtime.sandboxes) == 1


async def test_two_runs_at_once_make_one_pod(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    other = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    results = await asyncio.gather(engine.run(make_pod()), other.run(make_pod()), return_exceptions=True)
    assert sum(isinstance(result, FailedPrecondition) for result in results) == 1
    assert runtime.calls.count("RunPodSandbox web") == 1
    assert not list((tmp_path / "pods").glob(".lock*"))


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    runtime.exits["first"] = [3]
    events: list[PodEvent] = []
    with pytest.raises(FailedPrecondition, match=r"'first' of default/web ended with exit code 3 \(Error\)"):
        await engine.run(make_pod(f"restartPolicy: Never\n{INIT}"), on_event=events.append)
    assert "CreateContainer second" not in runtime.calls
    assert steps(events, "failed") == ["running the init container first"]
    (left,) = await engine.list()
    assert [(view.name, view.exit_code) for view in left.containers] == [("first", 3)]


@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
async def test_a_failed_init_container_is_tried_again_and_each_failure_told(
    runtime: Any, engine: PodEngine, make_pod: MakePod, policy: str
) -> None:
    runtime.exits |= {"first": [1, 2, 3, 0], "second": [0]}
    events: list[PodEvent] = []
    running = await engine.run(make_pod(f"restartPolicy: {policy}\n{INIT}"), on_event=events.append)
    failures = [event.detail for event in events if event.state == "failed"]
    assert [text.partition(" (")[0] for text in failures] == ["exit code 1", "exit code 2", "exit code 3"]
    assert [(view.name, view.restarts) for view in running.containers] == [("first", 3), ("second", 0), ("main", 0)]
    # one ended attempt is kept for inspection
    assert [(view.name, view.restarts) for view in running.earlier] == [("first", 2)]


async def test_a_sidecar_keeps_running_beside_what_follows(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    runtime.exits["first"] = [0]
    spec = """\
        initContainers:
        - {name: side, image: 'busybox:1', restartPolicy: Always}
        - {name: first, image: 'busybox:1'}
        """
    running = await engine.run(make_pod(spec))
    assert [call for call in runtime.calls if call.startswith("Start")] == [
        "StartContainer side",
        "StartContainer first",
        "StartContainer main",
    ]
    assert [(view.name, view.kind, view.state) for view in running.containers] == [
        ("side", "sidecar", "running"),
        ("first", "init", "exited"),
        ("main", "container", "running"),
    ]


async def test_variables_know_the_pods_address(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    env = "env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]"
    await engine.run(make_pod("", f"- {{name: main, image: 'busybox:1', command: [echo, $(IP)], {env}}}"))
    assert list(runtime.config("main").command) == ["echo", "10.0.0.2"]


READ_ONLY = """\
- name: main
  image: busybox:1
  volumeMounts: [{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: %s}]
"""


async def test_recursive_read_only_needs_an_endpoint_that_can(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    spec = "volumes: [{name: v, emptyDir: {}}]"
    with pytest.raises(Unimplemented, match="the endpoint cannot mount recursively read-only"):
        await engine.run(make_pod(spec, READ_ONLY % "Enabled"))
    await engine.run(make_pod(spec, READ_ONLY % "IfPossible"))
    assert not runtime.config("main").mounts[0].recursive_read_only
    await engine.remove("web", "default")
    runtime.handlers.append(api.RuntimeHandler(features=api.RuntimeHandlerFeatures(recursive_read_only_mounts=True)))
    await engine.run(make_pod(spec, READ_ONLY % "Enabled"))
    assert runtime.config("main").mounts[0].recursive_read_only


async def test_a_stop_signal_needs_an_endpoint_that_knows_it(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod("", "- {name: main, image: 'busybox:1', lifecycle: {stopSignal: SIGUSR1}}")
    runtime.knows_stop_signals = False
    with pytest.raises(Unimplemented, match=r"wants the stopSignal SIGUSR1, which .* does not know"):
        await engine.run(pod)
    assert runtime.containers == {}
    runtime.knows_stop_signals = True
    await engine.run(pod)
    assert runtime.config("main").stop_signal == api.SIGNAL_SIGUSR1


async def test_the_runtime_class_is_the_handler_unless_it_names_another(
    engine: PodEngine, objects: Any, make_pod: MakePod
) -> None:
    assert (await engine.run(make_pod("runtimeClassName: kata"))).handler == "kata"
    objects.classes["secure"] = "kata"
    assert (await engine.run(make_pod("runtimeClassName: secure", name="other"))).handler == "kata"


async def test_a_cancelled_run_is_told_and_leaves_no_lock(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    started = asyncio.Event()
    runtime.on_start = lambda status: started.set()
    events: list[PodEvent] = []
    task = asyncio.create_task(engine.run(make_pod(INIT), on_event=events.append))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list((tmp_path / "pods").glob(".lock*"))
    runtime.exits |= {"first": [0], "second": [0]}
    assert (await engine.run(make_pod(INIT))).running
