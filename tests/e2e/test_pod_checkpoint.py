"""CheckpointPod and what comes of it: with CRIU where it works, and with a stand-in for it everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import saving
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit, kit_on
from tests.support.saved_pods import COUNT, counted, counting_pod, entries
from tests.support.servers import Podyard

from podyard.cri import api
from podyard.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)

NO_CRIU = pytest.mark.skipif(not saving.criu_works(), reason="no CRIU works on this host (criu check)")
CHANGE = "echo mine > /mine; rm -r /etc 2> /dev/null; mkdir -p /etc/new; echo shared > /dev/shm/$NAME"


@pytest.fixture
async def kit(saver: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with kit_on(saver, images.busybox) as kit:
        yield kit


@pytest.mark.parametrize("handler", [pytest.param("criu", marks=NO_CRIU), "stand-in"])
async def test_a_pod_is_saved_goes_on_and_comes_back_as_another(kit: Kit, output: Path, handler: str) -> None:
    before = counting_pod(kit, handler, f"{CHANGE}; {COUNT}")
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
    ours, other = counting_pod(kit), counting_pod(kit, names=("three",))
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
    ours = counting_pod(kit, "criu")
    await ours.start()
    with pytest.raises(FailedPrecondition, match=r"(?i)on this host.*criu"):
        await ours.checkpoint(output)
    assert entries(output) == []
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_a_failure_leaves_nothing_and_holds_nobody(kit: Kit, output: Path, fault: Path) -> None:
    ours = counting_pod(kit)
    ours.containers[1].command.append("second")
    await ours.start()
    (fault / "checkpoint.fails").write_text("second")
    with pytest.raises(FailedPrecondition, match=r"it was ordered \(while saving the processes\)"):
        await ours.checkpoint(output)
    assert entries(output) == []
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_the_callers_deadline_is_the_limit(kit: Kit, output: Path, fault: Path) -> None:
    ours = counting_pod(kit)
    await ours.start()
    (fault / "checkpoint.hangs").touch()
    with pytest.raises(DeadlineExceeded):
        await ours.checkpoint(output, timeout=1)
    async with asyncio.timeout(WAIT_LIMIT):
        while entries(output):
            await asyncio.sleep(0.05)
    for container_id in ours.ids:
        await counted(kit, container_id, (await counted(kit, container_id, 1))[-1] + 2)


async def test_a_repeated_request_joins_the_one_in_flight(kit: Kit, output: Path, fault: Path) -> None:
    ours = counting_pod(kit)
    await ours.start()
    (fault / "checkpoint.hangs").touch()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ours.checkpoint(output))
        await asyncio.sleep(0)
        await kit.client.runtime.status()  # on the same connection, so they have come when it is answered
        (fault / "checkpoint.hangs").unlink()
    request = ours.request(output)
    begun = asyncio.create_task(ours.restore(request))
    await asyncio.sleep(0.01)
    begun.cancel()  # it goes on without its caller
    first, second = await asyncio.gather(ours.restore(request), ours.restore(request))
    assert first == second
    sandboxes = [one for one in await kit.client.runtime.list_pod_sandbox() if one.metadata == request.config.metadata]
    assert [one.id for one in sandboxes] == [first.pod_sandbox_id]
