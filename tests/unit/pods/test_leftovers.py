"""What Pods leave behind, and how a Pod is ended for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podyard.client import Client
from podyard.cri import api
from podyard.manifest.model import Pod
from podyard.pods import PodEngine, PodView
from podyard.pods.folders import Folders
from podyard.pods.leftovers import remove_orphans, tidy
from podyard.pods.verdict import Verdict

MakePod = Callable[..., Pod]
VERDICT = Verdict("Evicted", "low", disruption=True, grace=1)


def attempts(runtime: Any) -> list[int]:
    return sorted(status.metadata.attempt for status in runtime.containers.values())


async def the_pod(engine: PodEngine) -> PodView:
    (view,) = await engine.find("web")
    return view


async def tidied(client: Client, engine: PodEngine, *, hard: bool = False) -> None:
    view = await the_pod(engine)
    await tidy(client, engine.folder(view), view, hard=hard)


async def again(runtime: Any, engine: PodEngine, attempt: int) -> None:
    """Another attempt at the container, which has ended."""
    first = runtime.container("main")
    config = api.ContainerConfig()
    config.CopyFrom(runtime.container_configs[first.id])
    config.metadata.attempt = attempt
    sandbox_id = runtime.owners[first.id]
    request = api.CreateContainerRequest(
        pod_sandbox_id=sandbox_id, config=config, sandbox_config=runtime.sandbox_configs[sandbox_id]
    )
    made = runtime.containers[(await runtime.CreateContainer(request)).container_id]
    runtime.end(made, 1)
    folder = engine.folder(await the_pod(engine))
    (folder.logs / "main" / f"{attempt}.log").touch()
    (folder.logs / "main" / f"{attempt}.log.20260102-030405.gz").touch()


async def test_one_ended_attempt_is_kept_before_the_newest(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod())
    runtime.end(runtime.container("main"), 1)
    for attempt in (1, 2, 3):
        await again(runtime, engine, attempt)
    await tidied(client, engine)
    assert attempts(runtime) == [2, 3]
    logs = engine.folder(await the_pod(engine)).logs / "main"
    assert sorted(path.name.split(".")[0] for path in logs.iterdir()) == ["2", "2", "3", "3"]
    await tidied(client, engine, hard=True)
    assert attempts(runtime) == [3]


async def test_what_runs_stays_and_what_was_ended_goes_when_room_is_short(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod
) -> None:
    await engine.run(make_pod("volumes: [{name: cache, emptyDir: {}}]"))
    await tidied(client, engine, hard=True)
    assert attempts(runtime) == [0]
    await engine.end(await the_pod(engine), VERDICT)
    assert runtime.stop_timeouts["main"] == 1
    view = await the_pod(engine)
    assert (view.verdict, view.ready) == (VERDICT, False)
    await tidied(client, engine)
    assert attempts(runtime) == [0]
    await tidied(client, engine, hard=True)
    assert attempts(runtime) == []
    assert not engine.folder(view).volume("cache").exists()
    assert (await the_pod(engine)).verdict == VERDICT


async def test_the_first_verdict_stays_and_whoever_keeps_the_pod_stops(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod
) -> None:
    pod = make_pod()
    keeping = asyncio.create_task(engine.keep(pod, owned=lambda view: True))
    async with asyncio.timeout(20):
        while "StartContainer main" not in runtime.calls:
            await asyncio.sleep(0.01)
    await engine.end(await the_pod(engine), VERDICT)
    await engine.end(await the_pod(engine), Verdict("Evicted", "later"))
    assert await asyncio.wait_for(keeping, 20)
    assert (await the_pod(engine)).verdict == VERDICT
    assert runtime.calls.count("StartContainer main") == 1


async def test_a_sandbox_of_an_earlier_start_goes_when_it_is_empty(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod
) -> None:
    running = await engine.run(make_pod())
    older = api.PodSandboxStatus()
    older.CopyFrom(runtime.sandboxes[running.sandbox_id])
    older.id, older.created_at, older.state = "old", 1, api.SANDBOX_NOTREADY
    runtime.sandboxes["old"] = older
    await tidied(client, engine)
    assert list(runtime.sandboxes) == [running.sandbox_id]


async def test_files_of_pods_that_are_gone_are_removed(
    runtime: Any, client: Client, engine: PodEngine, make_pod: MakePod, tmp_path: Path
) -> None:
    running = await engine.run(make_pod())
    folder = engine.folder(running)
    assert await remove_orphans(client, engine) == []
    assert folder.path.exists()
    # What another endpoint's Pod has stays, and what nobody can tell.
    other = tmp_path / "pods" / "default_other_uid"
    other.mkdir()
    (other / "endpoint").write_text("unix:///other.sock")
    (tmp_path / "pods" / "default_unknown_uid").mkdir()
    del runtime.sandboxes[running.sandbox_id]
    with Folders(tmp_path / "pods", tmp_path / "logs").exclusive("default", "web"):
        assert await remove_orphans(client, engine) == []  # somebody is starting it
    assert await remove_orphans(client, engine) == ["default/web"]
    assert not folder.path.exists()
    assert not folder.logs.exists()
    assert sorted(path.name for path in (tmp_path / "pods").iterdir()) == ["default_other_uid", "default_unknown_uid"]
