"""CheckpointPod and RestorePod: with CRIU where it works, and with a stand-in for it everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import crash, saving
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import (
    AlreadyExists,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PodyardError,
)

COUNT = "n=0; while true; do n=$((n+1)); echo $n; sleep 0.05; done"
CHANGE = "echo mine > /mine; rm -r /etc 2> /dev/null; mkdir -p /etc/new; echo shared > /dev/shm/$NAME"
NO_CRIU = pytest.mark.skipif(not saving.criu_works(), reason="no CRIU works on this host (criu check)")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """A podyard with a handler for CRIU, whose OCI runtime is runc, and one for the stand-in."""
    folder = tmp_path_factory.mktemp("pods")
    handlers = {
        "runtime.handlers.criu": {"path": "runc"},
        "runtime.handlers.stand-in": {"path": str(saving.install(folder))},
    }
    server = Podyard(folder / "own", runtime={"hooks": ["tests.support.crash:setup"]}, **handlers)
    server.folder.mkdir()
    tree = Path(__file__).parent.parent.parent
    server.environment = {crash.FOLDER: str(server.folder), "PYTHONPATH": str(tree)}
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.reset()


@pytest.fixture
async def kit(own: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(own.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, own.folder / "tests", images.busybox, own.name)
        try:
            yield kit
        finally:
            await kit.close()


@pytest.fixture
def fault(own: Podyard) -> Iterator[Path]:
    """The directory of the orders for the stand-in."""
    folder = own.folder.parent
    yield folder
    for order in ("checkpoint.fails", "checkpoint.hangs", "restore.fails", "restore.kills"):
        (folder / order).unlink(missing_ok=True)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty directory for a checkpoint."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    return folder


class Pod:
    """A running sandbox with containers, and what it takes to checkpoint and to restore it."""

    def __init__(self, kit: Kit, handler: str, containers: list[api.ContainerConfig]) -> None:
        self.kit = kit
        self.handler = handler
        self.containers = containers
        self.id = ""
        self.ids: list[str] = []

    async def start(self, **fields: Any) -> None:
        runtime, config = self.kit.client.runtime, self.kit.sandbox_config(**fields)
        self.id = await runtime.run_pod_sandbox(config, self.handler)
        self.kit.configs[self.id] = config
        self.ids = [await runtime.create_container(self.id, one, config) for one in self.containers]
        for container_id in self.ids:
            await runtime.start_container(container_id)

    async def checkpoint(self, output: Path, timeout: float | None = None, **fields: Any) -> None:
        request = api.CheckpointPodRequest(pod_sandbox_id=self.id, output_path=str(output), **fields)
        await self.kit.client.runtime.call("CheckpointPod", request, timeout)

    def request(self, source: Path, config: api.PodSandboxConfig | None = None, **fields: Any) -> api.RestorePodRequest:
        config = config or self.kit.sandbox_config()
        defaults = {"container_configs": self.containers, "runtime_handler": self.handler}
        return api.RestorePodRequest(checkpoint_path=str(source), config=config, **{**defaults, **fields})

    async def restore(self, request: api.RestorePodRequest) -> api.RestorePodResponse:
        answer: api.RestorePodResponse = await self.kit.client.runtime.call("RestorePod", request)
        self.kit.configs[answer.pod_sandbox_id] = request.config
        return answer


def pod(kit: Kit, handler: str = "stand-in", script: str = COUNT, names: tuple[str, ...] = ("one", "two")) -> Pod:
    containers = [
        kit.container_config(["sh", "-c", script], name=name, envs=[api.KeyValue(key="NAME", value=name.encode())])
        for name in names
    ]
    return Pod(kit, handler, containers)


async def counted(kit: Kit, container_id: str, to: int) -> list[int]:
    """What a container has counted, once it has come to a number."""
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            seen = [int(line) for line in kit.output(await kit.status(container_id)).split()]
            if seen and seen[-1] >= to:
                return seen
            await asyncio.sleep(0.02)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("handler", [pytest.param("criu", marks=NO_CRIU), "stand-in"])
async def test_a_pod_is_saved_goes_on_and_comes_back_as_another(kit: Kit, output: Path, handler: str) -> None:
    before = pod(kit, handler, f"{CHANGE}; {COUNT}")
    await before.start()
    for container_id in before.ids:
        await counted(kit, container_id, 3)
    await before.checkpoint(output)
    seen = [len(await counted(kit, container_id, 3)) for container_id in before.ids]
    for container_id, number in zip(before.ids, seen, strict=True):
        await counted(kit, container_id, number + 3)
    await kit.client.runtime.stop_pod_sandbox(before.id)

    request = before.request(output)
    answer = await before.restore(request)
    assert [one.name for one in answer.restored_containers] == ["one", "two"]
    restored = [one.container_id for one in answer.restored_containers]
    assert not {answer.pod_sandbox_id, *restored} & {before.id, *before.ids}
    assert [(await kit.status(one)).state for one in restored] == [api.CONTAINER_CREATED] * 2
    assert await before.restore(request) == answer
    request.container_configs[0].log_path = "another.log"
    with pytest.raises(AlreadyExists, match="with the same attempt and another configuration"):
        await before.restore(request)
    for path in sorted(output.rglob("*"), reverse=True):  # what the containers need is theirs
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    namespaces = []
    for container_id in restored:
        await kit.client.runtime.start_container(container_id)
        assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
        numbers = await counted(kit, container_id, 5)
        if handler == "criu":
            assert numbers[0] > 3, "it went on counting from where it was"
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        script = "cat /mine; cat /dev/shm/one /dev/shm/two; hostname; test -e /etc/passwd || echo gone"
        told = await kit.exec(container_id, "sh", "-c", script)
        assert told.split() == ["mine", "shared", "shared", request.config.hostname, "gone"]
        namespaces.append(
            await kit.exec(container_id, "sh", "-c", "for n in net ipc uts; do readlink /proc/1/ns/$n; done")
        )
    assert namespaces[0] == namespaces[1]
    status = await kit.client.runtime.pod_sandbox_status(answer.pod_sandbox_id)
    addresses = await kit.exec(restored[0], "ip", "-4", "address", "show", "eth0")
    assert f"inet {status.status.network.ip}/" in addresses
    await kit.client.runtime.stop_container(restored[0], 0)
    assert (await kit.ended(restored[0])).exit_code == 137


async def test_what_is_saved_is_chosen_and_checked(kit: Kit, output: Path, tmp_path: Path) -> None:
    ours, other = pod(kit), pod(kit, names=("three",))
    await ours.start()
    await other.start()
    created = await kit.create(ours.id, ["true"], name="created")
    with pytest.raises(NotFound):
        await ours.checkpoint(output, container_ids=["0" * 64])
    with pytest.raises(InvalidArgument, match="is not in sandbox"):
        await ours.checkpoint(output, container_ids=[ours.ids[0], other.ids[0]])
    with pytest.raises(InvalidArgument, match="twice"):
        await ours.checkpoint(output, container_ids=[ours.ids[0], ours.ids[0][:12]])
    with pytest.raises(FailedPrecondition, match="created, not running"):
        await ours.checkpoint(output, container_ids=[created])
    with pytest.raises(InvalidArgument, match=r"no options.*leave-running"):
        await ours.checkpoint(output, options={"leave-running": "false"})
    with pytest.raises(InvalidArgument, match="absolute"):
        await ours.checkpoint(Path("relative"))
    with pytest.raises(NotFound, match="make it first"):
        await ours.checkpoint(tmp_path / "none")
    assert entries(output) == []
    await ours.checkpoint(output, container_ids=ours.ids[:1])
    assert entries(output) == sorted([ours.id, "pod.json"])
    assert entries(output / ours.id) == sorted([ours.ids[0], "shm"])
    assert (output / ours.id).stat().st_mode & 0o777 == 0o700
    with pytest.raises(AlreadyExists, match="not empty"):
        await ours.checkpoint(output)
    await kit.client.runtime.stop_pod_sandbox(other.id)
    with pytest.raises(FailedPrecondition, match="nothing to save"):
        await other.checkpoint(tmp_path)


@pytest.mark.skipif(saving.criu_works(), reason="CRIU works on this host")
async def test_where_criu_does_not_work_the_reason_is_told_and_the_pod_goes_on(kit: Kit, output: Path) -> None:
    ours = pod(kit, "criu")
    await ours.start()
    with pytest.raises(FailedPrecondition, match=r"(?i)on this host.*criu"):
        await ours.checkpoint(output)
    assert entries(output) == []
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_a_failure_leaves_nothing_and_holds_nobody(kit: Kit, output: Path, fault: Path) -> None:
    ours = pod(kit)
    ours.containers[1].command.append("second")
    await ours.start()
    (fault / "checkpoint.fails").write_text("second")
    with pytest.raises(FailedPrecondition, match=r"it was ordered \(while saving the processes\)"):
        await ours.checkpoint(output)
    assert entries(output) == []
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_the_callers_deadline_is_the_limit(kit: Kit, output: Path, fault: Path) -> None:
    ours = pod(kit)
    await ours.start()
    (fault / "checkpoint.hangs").touch()
    with pytest.raises(DeadlineExceeded):
        await ours.checkpoint(output, timeout=1)
    async with asyncio.timeout(WAIT_LIMIT):
        while entries(output):
            await asyncio.sleep(0.05)
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_a_repeated_request_joins_the_one_in_flight(kit: Kit, output: Path) -> None:
    ours = pod(kit)
    await ours.start()
    await asyncio.gather(*(ours.checkpoint(output) for _ in range(3)))
    request = ours.request(output)
    begun = asyncio.create_task(ours.restore(request))
    await asyncio.sleep(0.01)
    begun.cancel()  # it goes on without its caller
    first, second = await asyncio.gather(ours.restore(request), ours.restore(request))
    assert first == second
    sandboxes = [one for one in await kit.client.runtime.list_pod_sandbox() if one.metadata == request.config.metadata]
    assert [one.id for one in sandboxes] == [first.pod_sandbox_id]


async def test_what_does_not_fit_the_checkpoint_is_refused(kit: Kit, images: Images, output: Path) -> None:
    ours = pod(kit)
    await ours.start()
    await ours.checkpoint(output)

    def changed(**fields: Any) -> list[api.ContainerConfig]:
        one = api.ContainerConfig()
        one.CopyFrom(ours.containers[0])
        one.MergeFrom(api.ContainerConfig(**fields))
        return [one, ours.containers[1]]

    await kit.client.images.pull_image(images.layered)
    cases: list[tuple[dict[str, Any], type[PodyardError], str]] = [
        ({"container_configs": []}, FailedPrecondition, "of the containers one, two.*none"),
        ({"container_configs": ours.containers[:1]}, FailedPrecondition, "each of them once, not one"),
        ({"container_configs": [*ours.containers, ours.containers[0]]}, FailedPrecondition, "not one, one, two"),
        (
            {"container_configs": changed(args=["more"])},
            FailedPrecondition,
            "args.*processes are restored as they were",
        ),
        ({"container_configs": changed(tty=True)}, FailedPrecondition, "tty"),
        ({"container_configs": changed(image=api.ImageSpec(image=images.layered))}, FailedPrecondition, "image sha256"),
        ({"container_configs": changed(image=api.ImageSpec(image="none:1"))}, NotFound, "pull it first"),
        ({"runtime_handler": "criu"}, FailedPrecondition, "written by saving-runc"),
        ({"runtime_handler": "none"}, InvalidArgument, "no runtime handler"),
        ({"options": {"x": "y"}}, InvalidArgument, "no options"),
        ({"config": api.PodSandboxConfig()}, InvalidArgument, "name"),
    ]
    before = [one.id for one in await kit.client.runtime.list_pod_sandbox()]
    for fields, error, text in cases:
        with pytest.raises(error, match=text):
            await ours.restore(ours.request(output, **fields))
    with pytest.raises(InvalidArgument, match="absolute"):
        await ours.restore(ours.request(Path("relative")))
    with pytest.raises(NotFound, match="no directory"):
        await ours.restore(ours.request(output / "none"))
    with pytest.raises(FailedPrecondition, match=r"pod\.json is missing"):
        await ours.restore(ours.request(output / ours.id))
    (output / "pod.json").write_text((output / "pod.json").read_text().replace(ours.ids[0], "../" * 21 + "x"))
    with pytest.raises(DataLoss, match="as an id"):
        await ours.restore(ours.request(output))
    (output / "pod.json").write_text('{"format": 1')
    with pytest.raises(DataLoss, match="no manifest"):
        await ours.restore(ours.request(output))
    assert [one.id for one in await kit.client.runtime.list_pod_sandbox()] == before


async def test_a_part_that_is_missing_undoes_all_of_the_restore(kit: Kit, own: Podyard, output: Path) -> None:
    ours = pod(kit)
    await ours.start()
    await ours.checkpoint(output)
    (output / ours.id / ours.ids[1] / "upper").rename(output / "elsewhere")
    containers = {one.id for one in await kit.client.runtime.list_containers()}
    request = ours.request(output)
    with pytest.raises(PodyardError, match=r"cannot copy .*\(while copying the checkpoint\)"):
        await ours.restore(request)
    assert {one.id for one in await kit.client.runtime.list_containers()} == containers
    assert request.config.metadata not in [one.metadata for one in await kit.client.runtime.list_pod_sandbox()]
    assert {path.name for path in (own.root / "containers").iterdir()} == containers
    (output / "elsewhere").rename(output / ours.id / ours.ids[1] / "upper")
    assert len((await ours.restore(request)).restored_containers) == 2


async def test_a_container_that_cannot_be_restored_has_not_started(kit: Kit, output: Path, fault: Path) -> None:
    ours = pod(kit)
    await ours.start()
    await ours.checkpoint(output)
    answer = await ours.restore(ours.request(output))
    one, two = (entry.container_id for entry in answer.restored_containers)
    (fault / "restore.fails").write_text("sh")
    with pytest.raises(FailedPrecondition, match=r"cannot be restored on this host.*it was ordered"):
        await kit.client.runtime.start_container(one)
    status = await kit.status(one)
    assert (status.state, status.reason, status.exit_code) == (api.CONTAINER_EXITED, "StartError", 128)
    with pytest.raises(FailedPrecondition, match="start it first"):
        await kit.client.runtime.update_container_resources(two, api.LinuxContainerResources(cpu_shares=300))
    await kit.client.runtime.stop_container(two, 10)
    status = await kit.status(two)
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 137)
    with pytest.raises(FailedPrecondition, match="exited"):
        await kit.client.runtime.start_container(two)


async def test_podyard_may_die_while_a_container_is_restored(kit: Kit, own: Podyard, output: Path, fault: Path) -> None:
    ours = pod(kit, names=("one",))
    await ours.start()
    await ours.checkpoint(output)
    answer = await ours.restore(ours.request(output))
    restored = answer.restored_containers[0].container_id
    assert own.process is not None
    (fault / "restore.kills").write_text(str(own.process.pid))
    with pytest.raises(PodyardError):
        await kit.client.runtime.start_container(restored)
    await again(own)
    status = await kit.status(restored)
    assert (status.state, status.finished_at) == (api.CONTAINER_RUNNING, 0)
    await counted(kit, restored, 2)
    await kit.client.runtime.stop_container(restored, 0)
    assert (await kit.ended(restored)).exit_code == 137
    assert "after the start" not in own.log.read_text()


async def again(own: Podyard) -> None:
    """Start a podyard that was killed."""
    assert own.process is not None
    own.process.wait(timeout=WAIT_LIMIT)
    own.spawn()
    await own.ready()


async def life(kit: Kit, name: str, output: Path) -> None:
    """A pod saved and restored; each call may be a repetition."""
    runtime = kit.client.runtime
    network = api.LinuxSandboxSecurityContext(
        namespace_options=api.NamespaceOption(network=api.NODE, pid=api.CONTAINER)
    )
    linux = api.LinuxPodSandboxConfig(security_context=network)
    own_pids = api.LinuxContainerSecurityContext(namespace_options=network.namespace_options)
    first = pod(kit, names=("one",))
    first.containers[0].linux.security_context.CopyFrom(own_pids)
    config = kit.sandbox_config(f"{name}-first", linux=linux)
    first.id = await runtime.run_pod_sandbox(config, first.handler)
    kit.configs[first.id] = config
    container_id = await runtime.create_container(first.id, first.containers[0], config)
    if (await kit.status(container_id)).state == api.CONTAINER_CREATED:
        await runtime.start_container(container_id)
    if not (output / "pod.json").exists():
        assert entries(output) == []
        await first.checkpoint(output)
    await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 1)
    request = first.request(output, kit.sandbox_config(f"{name}-second", linux=linux))
    answer = await first.restore(request)
    restored = answer.restored_containers[0].container_id
    if (await kit.status(restored)).state == api.CONTAINER_CREATED:
        await runtime.start_container(restored)
    await counted(kit, restored, 1)
    assert await kit.exec(restored, "echo", "alive") == "alive\n"


STEPS = (
    "CheckpointPod: holding the processes",
    "CheckpointPod: saving the processes",
    "CheckpointPod: completing the checkpoint",
    "RestoreContainer: copying the checkpoint",
    "RestoreContainer: remembering the container",
    "RestorePod: making the containers",
)
"""Those after which something of its own has to be undone, or is done: a restart for every step would take too long."""


async def test_killed_in_a_checkpoint_and_in_a_restore(kit: Kit, own: Podyard, tmp_path: Path) -> None:
    """After a step the journal does not know that it is done: what is undone or repeated is the most there can be."""
    for number, step in enumerate(STEPS):
        output = tmp_path / str(number)
        output.mkdir()
        (own.folder / "kill").write_text(f"after {step}")
        with pytest.raises(PodyardError):
            await life(kit, f"life-{number}", output)
        (own.folder / "kill").unlink()
        await again(own)
        await life(kit, f"life-{number}", output)
        await kit.close()
        for folder in ("bundles", "pins", "sandboxes", "exits"):
            assert list((own.run / folder).iterdir()) == [], step
        assert list((own.root / "containers").iterdir()) == [], step
