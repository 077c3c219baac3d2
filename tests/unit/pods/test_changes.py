"""A manifest that changes while its Pod runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest.model import Pod
from podyard.pods import Board, PodEngine, PodEvent

MakePod = Callable[..., Pod]

SIZED = "- {{name: main, image: 'busybox:1', resources: {{requests: {{cpu: 100m}}, limits: {{memory: {0}}}}}{1}}}"


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(
    engine: PodEngine, pod: Pod, events: list[PodEvent] | None = None, board: Board | None = None
) -> AsyncIterator[None]:
    tell = (lambda event: None) if events is None else events.append
    task = asyncio.create_task(engine.keep(pod, owned=lambda view: True, board=board or Board(), on_event=tell))
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


def starts(runtime: Any, name: str = "main") -> int:
    count: int = runtime.calls.count(f"StartContainer {name}")
    return count


async def looked_at_twice(runtime: Any) -> None:
    for _ in range(3):
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 20)


async def test_other_limits_are_given_to_what_runs(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    async with kept(engine, make_pod(containers=SIZED.format("64Mi", ""))):
        await until(lambda: starts(runtime) == 1)
    async with kept(engine, make_pod(containers=SIZED.format("128Mi", ""))):
        await until(lambda: runtime.updates)
        await looked_at_twice(runtime)
    (update,) = runtime.updates
    assert (update.memory_limit_in_bytes, update.cpu_shares) == (128 << 20, 102)
    # An agent that comes anew knows what was given last, in both directions.
    async with kept(engine, make_pod(containers=SIZED.format("128Mi", ""))):
        await looked_at_twice(runtime)
    assert len(runtime.updates) == 1
    async with kept(engine, make_pod(containers=SIZED.format("64Mi", ""))):
        await until(lambda: len(runtime.updates) == 2)
    assert (starts(runtime), runtime.calls.count("RunPodSandbox web")) == (1, 1)


async def test_the_policy_may_ask_for_a_restart(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    policy = ", resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]"
    async with kept(engine, make_pod(containers=SIZED.format("64Mi", policy))):
        await until(lambda: starts(runtime) == 1)
    async with kept(engine, make_pod(containers=SIZED.format("128Mi", policy))):
        await until(lambda: starts(runtime) == 2)
    assert runtime.updates == []
    again = runtime.container_configs[runtime.container("main", 1).id]
    assert again.linux.resources.memory_limit_in_bytes == 128 << 20


async def test_what_the_endpoint_refuses_is_told_once(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    async with kept(engine, make_pod(containers=SIZED.format("64Mi", ""))):
        await until(lambda: starts(runtime) == 1)
    runtime.fails["UpdateContainerResources main"] = InvalidArgument("less than what is in use")
    events: list[PodEvent] = []
    async with kept(engine, make_pod(containers=SIZED.format("32Mi", "")), events):
        await until(lambda: "UpdateContainerResources main" in runtime.calls)
        await looked_at_twice(runtime)
    assert [event.detail for event in events if event.state == "failed"] == ["less than what is in use"]


async def test_another_class_of_service_is_another_pod(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    async with kept(engine, make_pod(containers=SIZED.format("64Mi", ""))):
        await until(lambda: starts(runtime) == 1)
    async with kept(engine, make_pod()):
        await until(lambda: starts(runtime) == 2)
    assert runtime.calls.count("RunPodSandbox web") == 2


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
async def test_a_container_whose_image_changed_is_started_again_where_the_pod_is_known_by_its_uid(
    runtime: Any, engine: PodEngine, make_pod: MakePod, policy: str
) -> None:
    two = "- {{name: main, image: '{0}'}}\n- {{name: other, image: 'busybox:1'}}"
    pods = [with_uid(make_pod(f"restartPolicy: {policy}", two.format(image))) for image in ("busybox:1", "other:1")]
    async with kept(engine, pods[0]):
        await until(lambda: starts(runtime, "other") == 1)
    async with kept(engine, pods[1]):
        await until(lambda: starts(runtime) == 2)
        await looked_at_twice(runtime)
    assert (starts(runtime, "other"), runtime.calls.count("RunPodSandbox web")) == (1, 1)
    (view,) = await engine.find("web")
    assert [(one.name, one.image) for one in view.containers] == [("main", "other:1"), ("other", "busybox:1")]


def with_uid(pod: Pod) -> Pod:
    return replace(pod, metadata=replace(pod.metadata, uid="u-1"))


@pytest.mark.host
async def test_labels_reach_the_volumes_of_a_pod_that_is_known_by_its_uid(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    items = "[{path: labels, fieldRef: {fieldPath: metadata.labels}}]"
    main = "- {name: main, image: 'busybox:1', volumeMounts: [{name: v, mountPath: /v}]}"
    pod = with_uid(make_pod(f"volumes: [{{name: v, downwardAPI: {{items: {items}}}}}]", main))
    async with kept(engine, pod):
        await until(lambda: starts(runtime) == 1)
    (path,) = [mount.host_path for mount in runtime.config("main").mounts if mount.container_path == "/v"]
    async with kept(engine, replace(pod, metadata=replace(pod.metadata, labels={"a": "b"}))):
        await until(lambda: read(f"{path}/labels") == 'a="b"')
    assert starts(runtime) == 1


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


async def test_an_ephemeral_container_joins_and_is_never_started_again(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    async with kept(engine, make_pod()):
        await until(lambda: starts(runtime) == 1)
    runtime.exits["debug"] = [3]
    spec = "ephemeralContainers: [{name: debug, image: 'other:1', targetContainerName: main}]"
    async with kept(engine, make_pod(spec)):
        await until(lambda: starts(runtime, "debug") == 1)
        await looked_at_twice(runtime)
    options = runtime.config("debug").linux.security_context.namespace_options
    assert (options.pid, options.target_id) == (api.TARGET, runtime.container("main").id)
    assert (starts(runtime), starts(runtime, "debug"), runtime.calls.count("RunPodSandbox web")) == (1, 1, 1)
    (view,) = await engine.find("web")
    assert [(one.name, one.kind, one.state) for one in view.containers] == [
        ("main", "container", "running"),
        ("debug", "ephemeral", "exited"),
    ]


async def test_the_board_says_what_containers_have_been_given(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    before, after = make_pod(containers=SIZED.format("64Mi", "")), make_pod(containers=SIZED.format("128Mi", ""))
    board = Board()
    async with kept(engine, before, board=board):
        await until(lambda: board.resources)
    assert board.resources == {"main": before.container("main").resources}
    runtime.fails["UpdateContainerResources main"] = InvalidArgument("too much")
    async with kept(engine, after, board=board):
        await until(lambda: board.resizing.get("main"))
    assert board.resources == {"main": before.container("main").resources}
    assert "too much" in board.resizing["main"]
    runtime.fails.clear()
    async with kept(engine, after, board=board):
        await until(lambda: not board.resizing)
    assert board.resources == {"main": after.container("main").resources}
