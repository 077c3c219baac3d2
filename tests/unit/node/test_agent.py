"""What the directory asks for is what runs, through changes, crashes and restarts on both ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.manifest import parse
from podyard.node import watch
from podyard.pods import PodEngine
from podyard.pods.verdict import Verdict
from podyard.server import Server

Until = Callable[[Callable[[], object]], Awaitable[None]]


def names(runtime: Any) -> list[str]:
    """The Pods whose sandboxes are there."""
    return sorted(sandbox.metadata.name for sandbox in runtime.sandboxes.values())


def running(runtime: Any) -> list[str]:
    """The Pods that have a running container."""
    found = [status for status in runtime.containers.values() if status.state == api.CONTAINER_RUNNING]
    return sorted(runtime.sandboxes[runtime.owners[status.id]].metadata.name for status in found)


def folders(runtime: Any) -> list[str]:
    """The working directories of the running containers, by which manifests are told apart here."""
    found = [status.id for status in runtime.containers.values() if status.state == api.CONTAINER_RUNNING]
    return sorted(runtime.container_configs[one].working_dir for one in found)


@pytest.fixture
def full_root(tmp_path: Path) -> Iterator[Path]:
    """The Pods' directory on a file system of its own, with room for few files."""
    path = tmp_path / "pods"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=100,size=4m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(root: Path) -> None:
    """Leave no room for a single file, nor for a byte."""
    with suppress(OSError), (root / "fill").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(OSError):
        for number in itertools.count():
            (root / f"fill{number}").touch()
    with pytest.raises(OSError, match="No space left"):
        (root / "one-more").touch()


async def test_pods_come_change_and_go_with_their_manifests(
    runtime: Any, agents: Any, directory: Any, until: Until
) -> None:
    directory.pod("web")
    directory.pod("db")
    agents.start()
    await until(lambda: running(runtime) == ["db", "web"])
    directory.pod("web", "b")
    await until(lambda: folders(runtime) == ["/a", "/b"])
    (directory.path / "db.yaml").unlink()
    await until(lambda: names(runtime) == ["web"])
    directory.pod("db", "c")
    await until(lambda: folders(runtime) == ["/b", "/c"])


async def test_a_broken_manifest_leaves_what_runs_alone_and_is_told_once(
    runtime: Any, agents: Any, directory: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    directory.pod("web")
    agents.start()
    await until(lambda: running(runtime) == ["web"])
    directory.write("web.yaml", "apiVersion: v1\nkind: Pod\n")
    directory.pod("db")
    await until(lambda: running(runtime) == ["db", "web"])
    assert caplog.text.count("web.yaml:1: metadata: missing") == 1
    # So it is for the next agent, which has never seen the file while it was right.
    await agents.kill()
    before = list(runtime.calls)
    directory.pod("late")
    agents.start()
    await until(lambda: running(runtime) == ["db", "late", "web"])
    assert not [call for call in runtime.calls[len(before) :] if call.startswith(("Stop", "Remove"))]


async def test_the_next_agent_adopts_what_runs_and_removes_what_nobody_wants(
    runtime: Any, agents: Any, directory: Any, until: Until
) -> None:
    for name in ("web", "db", "old"):
        directory.pod(name)
    agents.start()
    await until(lambda: running(runtime) == ["db", "old", "web"])
    await agents.kill()
    before = {status.id for status in runtime.containers.values()}
    old = runtime.calls.count("StartContainer main")
    (directory.path / "old.yaml").unlink()
    agents.start()
    await until(lambda: names(runtime) == ["db", "web"])
    assert {status.id for status in runtime.containers.values()} < before
    assert runtime.calls.count("StartContainer main") == old


async def test_pods_that_others_made_are_left_alone(
    runtime: Any, client: Client, agents: Any, directory: Any, until: Until, tmp_path: Any
) -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, image: 'busybox:1'}]}"
    engine = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    for name in ("mine", "web"):
        (pod,) = parse(text.replace("NAME", name).encode(), "x.yaml").pods
        await engine.run(pod)
    directory.pod("web")
    directory.pod("db")
    agent = agents.start()
    await until(lambda: running(runtime) == ["db", "mine", "web"])
    (web,) = [pod for pod in await agent.pods() if pod["metadata"]["name"] == "web"]
    assert web["status"]["reason"] == "NameTaken"
    assert "podyard rm default/web" in web["status"]["message"]
    (directory.path / "web.yaml").unlink()
    (directory.path / "db.yaml").unlink()
    await until(lambda: names(runtime) == ["mine", "web"])


async def test_the_runtime_may_go_away_and_come_back(
    runtime: Any,
    daemon: Any,
    agents: Any,
    directory: Any,
    until: Until,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "HEALTH_POLL", 0.05)
    caplog.set_level(logging.INFO)
    directory.pod("web")
    agent = agents.start()
    await until(lambda: running(runtime) == ["web"] and agent.trouble == "")
    await daemon.stop()
    await until(lambda: agent.trouble)
    assert "the node is not ready: " in caplog.text
    directory.pod("db")
    await daemon.start()
    await until(lambda: running(runtime) == ["db", "web"] and agent.trouble == "")
    assert runtime.calls.count("RunPodSandbox web") == 1


async def test_a_pod_that_cannot_be_started_is_tried_again_and_says_why(
    runtime: Any, agents: Any, directory: Any, until: Until
) -> None:
    runtime.fails["RunPodSandbox web"] = InvalidArgument("injected")
    directory.pod("web")
    agent = agents.start()
    await until(lambda: runtime.calls.count("RunPodSandbox web") >= 2)
    reasons: list[str] = []

    async def look() -> None:
        (pod,) = await agent.pods()
        reasons.append(pod["status"].get("message", ""))

    for _ in range(200):
        await look()
        if reasons[-1]:
            break
    assert "injected" in reasons[-1]
    del runtime.fails["RunPodSandbox web"]
    await until(lambda: running(runtime) == ["web"])


@pytest.mark.host
async def test_a_full_disk_neither_ends_the_agent_nor_keeps_pods_from_being_removed(
    runtime: Any, agents: Any, directory: Any, until: Until, full_root: Path
) -> None:
    directory.pod("web")
    directory.pod("db")
    agent = agents.start()
    await until(lambda: running(runtime) == ["db", "web"])
    fill(full_root)
    directory.pod("late")
    (directory.path / "web.yaml").unlink()
    await until(lambda: running(runtime) == ["db"])
    await until(lambda: "No space left" in getattr(agent.workers["default/late"].failure, "message", ""))
    await agents.kill()
    (directory.path / "db.yaml").unlink()
    fill(full_root)
    agents.start()
    await until(lambda: not running(runtime))
    for path in full_root.glob("fill*"):
        path.unlink()
    await until(lambda: running(runtime) == ["late"])


@pytest.mark.host
async def test_a_full_disk_does_not_keep_a_pod_from_being_evicted(
    runtime: Any, client: Client, agents: Any, directory: Any, until: Until, full_root: Path
) -> None:
    directory.pod("web")
    agents.start()
    await until(lambda: running(runtime) == ["web"])
    fill(full_root)
    engine = PodEngine(client, full_root, log_root=full_root.parent / "logs")
    (view,) = await engine.list()
    await engine.end(view, Verdict("Evicted", "the disk is full"))
    await until(lambda: not running(runtime))
    (view,) = await engine.list()
    assert view.verdict == Verdict("Evicted", "the disk is full")


async def test_a_pod_that_somebody_removes_is_started_anew(
    runtime: Any, client: Client, agents: Any, directory: Any, until: Until, tmp_path: Any
) -> None:
    directory.pod("web")
    agents.start()
    await until(lambda: running(runtime) == ["web"])
    await PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs").remove("web", "default")
    await until(lambda: runtime.calls.count("RunPodSandbox web") == 2 and running(runtime) == ["web"])


async def test_a_directory_that_goes_away_leaves_what_runs_alone(
    runtime: Any, agents: Any, directory: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    directory.pod("web")
    agents.start()
    await until(lambda: running(runtime) == ["web"])
    directory.path.rename(directory.path.with_name("elsewhere"))
    await until(lambda: "what runs is left alone" in caplog.text)
    assert running(runtime) == ["web"]
    directory.path.with_name("elsewhere").rename(directory.path)
    (directory.path / "web.yaml").unlink()
    await until(lambda: names(runtime) == [])


@pytest.mark.parametrize("lost", ["RuntimeService", "ImageService"])
async def test_a_service_that_comes_back_without_its_version_makes_the_node_unready_until_it_has_it_again(
    lost: str,
    runtime: Any,
    daemon: Any,
    agents: Any,
    directory: Any,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.setattr(watch, "HEALTH_POLL", 0.05)
    directory.pod("web")
    agent = agents.start()
    await until(lambda: running(runtime) == ["web"] and agent.trouble == "")
    await daemon.stop()
    older = Server(60, lambda: "")
    spoken = {service: "v1alpha2" if service == lost else "v1" for service in ("RuntimeService", "ImageService")}
    await older.listen(tmp_path / "cri.sock", [(version, service, runtime) for service, version in spoken.items()])
    await until(lambda: f"does not serve runtime.v1.{lost} any more" in agent.trouble)
    assert "Restart the client (of a node: the agent)" in agent.trouble
    await older.close(0)
    await daemon.start()
    await until(lambda: agent.trouble == "")
    assert (running(runtime), runtime.calls.count("RunPodSandbox web")) == (["web"], 1)


async def test_events_wake_whoever_waits_for_their_sandbox(runtime: Any, until: Until, tmp_path: Any) -> None:
    events: asyncio.Queue[api.ContainerEventResponse] = asyncio.Queue()

    async def stream(request: api.GetEventsRequest) -> AsyncGenerator[api.ContainerEventResponse, None]:
        while True:
            yield await events.get()

    runtime.GetContainerEvents = stream
    server = Server(60, lambda: "")
    services = ("RuntimeService", "ImageService")
    await server.listen(tmp_path / "events.sock", [("v1", service, runtime) for service in services])
    async with await Client.connect(f"{tmp_path}/events.sock") as client:
        watching = watch.RuntimeWatch(client)
        following = asyncio.create_task(watching.events())
        mine = asyncio.create_task(watching.pause("mine", 60))
        other = asyncio.create_task(watching.pause("other", 60))
        await asyncio.sleep(0)
        happened = api.ContainerEventResponse(pod_sandbox_status=api.PodSandboxStatus(id="mine"))
        events.put_nowait(happened)
        await asyncio.wait_for(mine, 20)
        assert not other.done()
        # What happens while nobody waits is not lost.
        events.put_nowait(happened)
        await until(events.empty)
        await asyncio.wait_for(watching.pause("mine", 60), 20)
        for task in (following, other):
            task.cancel()
        await asyncio.wait([following, other])
    await server.close(0)


async def test_a_runtime_without_events_is_polled(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await asyncio.wait_for(watch.RuntimeWatch(client).events(), 20)
    assert "containers are looked at every second" in caplog.text
