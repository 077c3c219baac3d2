"""What there is of a Pod that is to run: gone on with, followed by a new sandbox, or removed."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.keeping import MakePod, keeping, runs, starts, until

from podyard.client import Client
from podyard.cri import api
from podyard.errors import AlreadyExists, InvalidArgument
from podyard.manifest.model import Pod
from podyard.manifest.objects import ConfigMap
from podyard.pods import Board, PodEngine
from podyard.pods.folders import PodFolder
from podyard.pods.leftovers import tidy

LOSES = """
volumes:
- {name: data, emptyDir: {}}
- {name: fast, emptyDir: {medium: Memory}}
- {name: told, projected: {sources: [{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
"""


async def lose(runtime: Any, engine: PodEngine, pod: Pod) -> PodFolder:
    """Have a Pod run, write to its volumes and its log, and stop its sandbox; its directories."""
    async with keeping(engine, pod) as task:
        await until(runs(runtime, "main"))
        (view,) = await engine.find("web")
        folder = engine.folder(view)
        for volume in ("data", "fast"):
            (folder.volume(volume) / "file").write_text("precious")
        folder.volume("data").chmod(0o700)
        (folder.logs / "main" / "0.log").write_text("said before")
        await engine.stop("web", "default")
        assert await asyncio.wait_for(task, 10) is False
    return folder


async def has_all_of(engine: PodEngine, folder: PodFolder) -> bool:
    """Whether the Pod that runs is the one that lost its sandbox, with what it had."""
    (view,) = await engine.find("web")
    kept = [(folder.volume(volume) / "file").read_text() for volume in ("data", "fast")]
    mode = stat.S_IMODE(folder.volume("data").stat().st_mode)
    said = (folder.logs / "main" / "0.log").read_text()
    told = (folder.volume("told") / "name").read_text()
    return (engine.folder(view), kept, mode, said, told) == (folder, ["precious"] * 2, 0o700, "said before", "web")


@pytest.mark.host
@pytest.mark.parametrize("uid", ["", "given"])
async def test_the_next_sandbox_of_a_pod_that_lost_one_has_its_volumes_and_logs_and_counts_on(
    runtime: Any, engine: PodEngine, make_pod: MakePod, client: Client, uid: str
) -> None:
    pod = make_pod(LOSES)
    pod = replace(pod, metadata=replace(pod.metadata, uid=uid))
    folder = await lose(runtime, engine, pod)
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 2)
    assert await has_all_of(engine, folder)
    assert [one.metadata.attempt for one in runtime.sandboxes.values()] == [0, 1]
    (view,) = await engine.find("web")
    assert (view.attempt, view.containers[0].restarts, [one.restarts for one in view.earlier]) == (1, 1, [0])

    # A container that is missing when the agent comes back gets no number that was used.
    for found in [one for one in runtime.containers.values() if one.metadata.attempt == 1]:
        del runtime.containers[found.id]
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 3)
    (view,) = await engine.find("web")
    assert (view.attempt, view.containers[0].restarts) == (1, 1)
    assert len(runtime.sandboxes) == 2

    for _ in range(2):
        await again(runtime, engine, pod)
        await tidy(client, folder, *await engine.find("web"))
    assert [one.metadata.attempt for one in runtime.sandboxes.values()] == [1], "the first one is empty by now"
    assert (folder.volume("data") / "file").read_text() == "precious"


async def again(runtime: Any, engine: PodEngine, pod: Pod) -> None:
    """The Pod's container ends, and is started again."""
    count = starts(runtime)
    async with keeping(engine, pod):
        await until(lambda: any(one.state == api.CONTAINER_RUNNING for one in runtime.containers.values()))
        for one in runtime.containers.values():
            if one.state == api.CONTAINER_RUNNING:
                runtime.end(one, 1)
        await until(lambda: starts(runtime) == count + 1)


@pytest.mark.host
@pytest.mark.parametrize("lacks", ["a sandbox", "an object", "time"])
async def test_what_a_pod_had_stays_while_its_next_sandbox_cannot_be_made(
    runtime: Any, engine: PodEngine, make_pod: MakePod, objects: Any, lacks: str
) -> None:
    pod = make_pod(LOSES + "- {name: config, configMap: {name: settings}}\n")
    objects.config_maps["default", "settings"] = ConfigMap(data={"key": "value"})
    folder = await lose(runtime, engine, pod)
    if lacks == "a sandbox":
        runtime.fails["RunPodSandbox web"] = InvalidArgument("no network yet")
        with pytest.raises(InvalidArgument, match="no network yet"):
            await engine.keep(pod, owned=lambda view: True)
    else:
        given = objects.config_maps.pop(("default", "settings"))
        board = Board()
        async with keeping(engine, pod, board):
            await until(lambda: "main" in board.waiting)
            if lacks == "an object":
                objects.config_maps["default", "settings"] = given
                await until(lambda: starts(runtime) == 2)
        objects.config_maps["default", "settings"] = given
    runtime.fails.clear()
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 2)
    assert await has_all_of(engine, folder)


@pytest.mark.host
async def test_the_newest_sandbox_and_containers_are_known_though_the_clock_was_set_back(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod(LOSES)
    folder = await lose(runtime, engine, pod)
    for one in (*runtime.sandboxes.values(), *runtime.containers.values()):
        one.created_at += 3600 * 10**9
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 2)
    (view,) = await engine.find("web")
    assert (view.ready, view.attempt, view.containers[0].state, view.containers[0].restarts) == (True, 1, "running", 1)
    async with keeping(engine, pod):
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 10)
    assert starts(runtime) == 2
    assert await has_all_of(engine, folder)


async def test_another_manifest_replaces_what_runs_and_its_files(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    running = await engine.run(make_pod())
    async with keeping(engine, make_pod("hostname: other")):
        await until(lambda: starts(runtime) == 2)
    assert running.sandbox_id not in runtime.sandboxes
    assert not (tmp_path / "pods" / f"default_web_{running.uid}").exists()
    (view,) = await engine.find("web")
    assert (tmp_path / "pods" / f"default_web_{view.uid}").exists()


async def test_what_is_not_owned_is_left_alone(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    running = await engine.run(make_pod())
    with pytest.raises(AlreadyExists, match="podyard rm default/web"):
        await engine.keep(make_pod("hostname: other"), owned=lambda view: False)
    assert running.sandbox_id in runtime.sandboxes


async def test_files_that_a_start_left_without_a_sandbox_are_removed(
    runtime: Any, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    left = tmp_path / "pods" / "default_web_0000"
    left.mkdir(parents=True)
    async with keeping(engine, make_pod()):
        await until(runs(runtime, "main"))
    assert not left.exists()


async def test_a_start_that_was_given_up_and_came_to_pass_all_the_same_leaves_no_second_pod(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod()
    late = await engine.run(pod)
    hidden = runtime.sandboxes.pop(late.sandbox_id)
    # Its sandbox comes to be while the next start makes its own.
    runtime.on_sandbox = lambda: runtime.sandboxes.update({hidden.id: hidden})
    async with keeping(engine, pod):
        await until(lambda: starts(runtime) == 2)
    assert hidden.id not in runtime.sandboxes
    assert len(runtime.sandboxes) == 1


async def test_a_pod_with_a_uid_is_known_by_it_whatever_changes(
    runtime: Any, engine: PodEngine, make_pod: MakePod
) -> None:
    def of(uid: str, labels: dict[str, str]) -> Pod:
        pod = make_pod()
        return replace(pod, metadata=replace(pod.metadata, uid=uid, labels=labels))

    async with keeping(engine, of("first", {})):
        await until(runs(runtime, "main"))
    async with keeping(engine, of("first", {"a": "b"})):
        runtime.looked.clear()
        await asyncio.wait_for(runtime.looked.wait(), 10)
        assert [view.uid for view in await engine.find("web")] == ["first"]
    assert starts(runtime) == 1
    async with keeping(engine, of("second", {"a": "b"})):
        await until(lambda: starts(runtime) == 2)
    assert [view.uid for view in await engine.find("web")] == ["second"]
