"""Containers, through the CRI: their life."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit

from podyard.cri import api
from podyard.errors import AlreadyExists, NotFound, PodyardError


async def test_a_container_from_create_to_remove(kit: Kit) -> None:
    runtime = kit.client.runtime
    sandbox_id = await kit.sandbox()
    before = time.time_ns()
    container_id = await kit.create(
        sandbox_id, ["sh", "-c", "sleep 0.3; exit 3"], labels={"l": "1"}, annotations={"a": "2"}
    )
    status = await kit.status(container_id)
    assert (status.state, status.started_at, status.finished_at) == (api.CONTAINER_CREATED, 0, 0)
    assert before <= status.created_at <= time.time_ns()
    assert (dict(status.labels), dict(status.annotations)) == ({"l": "1"}, {"a": "2"})
    assert status.image.image == kit.image
    assert "@sha256:" in status.image_ref
    await runtime.start_container(container_id)
    status = await kit.status(container_id)
    assert status.state == api.CONTAINER_RUNNING
    assert status.started_at >= status.created_at
    status = await kit.ended(container_id)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert status.finished_at >= status.started_at
    [listed] = await runtime.list_containers(api.ContainerFilter(id=container_id))
    assert (listed.state, listed.pod_sandbox_id, listed.image.image) == (api.CONTAINER_EXITED, sandbox_id, kit.image)
    await runtime.remove_container(container_id)
    await runtime.remove_container(container_id)
    with pytest.raises(NotFound):
        await kit.status(container_id)


@pytest.mark.parametrize("digits", [64, 12])
async def test_an_image_by_its_id_is_told_by_its_name(kit: Kit, digits: int) -> None:
    found = (await kit.client.images.image_status(kit.image)).image.id.removeprefix("sha256:")
    image = api.ImageSpec(image=found[:digits])
    status = await kit.status(await kit.create(await kit.sandbox(), ["true"], image=image))
    assert status.image.image == kit.image


async def test_of_the_names_of_an_image_that_of_the_pod_is_told(ours: Kit, images: Images) -> None:
    client = ours.client
    await client.images.pull_image(images.docker)
    found = (await client.images.image_status(images.docker)).image
    digest = found.repo_digests[0]
    sandbox_id = await ours.sandbox()
    for written, told in (
        (digest, digest),
        (images.docker, images.docker),
        ("other", images.docker),
        ("", images.docker),
    ):
        image = api.ImageSpec(image=found.id, user_specified_image=written)
        status = await ours.status(await ours.create(sandbox_id, ["true"], image=image))
        assert (status.image.image, status.image.user_specified_image) == (told, written)


async def test_completed_is_the_reason_of_exit_0(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    status = await kit.ended(await kit.start(sandbox_id, ["true"]))
    assert (status.exit_code, status.reason) == (0, "Completed")


async def test_oom_killed_is_reported(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    limits = api.LinuxContainerConfig(
        resources=api.LinuxContainerResources(memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20)
    )
    eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
    status = await kit.ended(await kit.start(sandbox_id, eat, linux=limits))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_a_program_that_does_not_exist(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match="no/such/program"):
        await kit.start(sandbox_id, ["/no/such/program"])


async def test_a_container_starts_once(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    with pytest.raises(PodyardError, match=r"(?i)running"):
        await kit.client.runtime.start_container(container_id)


async def test_the_same_container_again_returns_the_same_id(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    config = kit.container_config(["sleep", "1000"])
    create = kit.client.runtime.create_container
    first = await create(sandbox_id, config, kit.configs[sandbox_id])
    assert await create(sandbox_id, config, kit.configs[sandbox_id]) == first
    config.args.append("more")
    with pytest.raises(AlreadyExists):
        await create(sandbox_id, config, kit.configs[sandbox_id])


async def test_filters_by_sandbox_state_and_labels(kit: Kit) -> None:
    one, two = await kit.sandbox(), await kit.sandbox()
    created = await kit.create(one, ["true"], labels={"k": "v"})
    running = await kit.start(one, ["sleep", "1000"], labels={"k": "v"})
    other = await kit.start(two, ["sleep", "1000"], labels={"k": "w"})

    async def ids(**fields: object) -> set[str]:
        wanted = api.ContainerFilter(**fields)  # type: ignore[arg-type]
        return {entry.id for entry in await kit.client.runtime.list_containers(wanted)}

    assert await ids(pod_sandbox_id=one) == {created, running}
    assert await ids(label_selector={"k": "v"}) == {created, running}
    assert await ids(label_selector={"k": "w"}) == {other}
    assert await ids(state=api.ContainerStateValue(state=api.CONTAINER_RUNNING), pod_sandbox_id=one) == {running}
    assert await ids(id=other[:16]) == {other}


async def test_short_ids(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.create(sandbox_id, ["sleep", "1000"])
    await kit.client.runtime.start_container(container_id[:13])
    assert (await kit.status(container_id[:13])).id == container_id
    assert (await kit.client.runtime.pod_sandbox_status(sandbox_id[:13])).status.id == sandbox_id
    await kit.client.runtime.stop_container(container_id[:13], 0)


async def test_stop_sends_the_signal_and_waits(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(
        sandbox_id, ["sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done"]
    )
    await until_logged(kit, container_id, "up")
    await kit.client.runtime.stop_container(container_id, 20)
    status = await kit.status(container_id)
    assert (status.state, status.exit_code, kit.output(status)) == (api.CONTAINER_EXITED, 5, "up\nbye\n")
    await kit.client.runtime.stop_container(container_id, 20)


async def test_stop_with_all_the_time_that_a_pod_can_have(ours: Kit) -> None:
    script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
    container_id = await ours.start(await ours.sandbox(), ["sh", "-c", script])
    await until_logged(ours, container_id, "up")
    await ours.client.runtime.stop_container(container_id, 2**63 - 1)
    assert (await ours.status(container_id)).exit_code == 3


async def test_stop_kills_what_does_not_listen(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    await until_logged(kit, container_id, "up")
    await kit.client.runtime.stop_container(container_id, 1)
    status = await kit.status(container_id)
    assert (status.state, status.exit_code) == (api.CONTAINER_EXITED, 137)


async def test_a_second_stop_shortens_the_first(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    await until_logged(kit, container_id, "up")
    slow = asyncio.create_task(kit.client.runtime.stop_container(container_id, 100))
    await asyncio.sleep(0.3)
    await kit.client.runtime.stop_container(container_id, 0)
    await asyncio.wait_for(slow, WAIT_LIMIT)
    assert (await kit.status(container_id)).state == api.CONTAINER_EXITED


async def test_removing_a_running_container_stops_it(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    await kit.client.runtime.remove_container(container_id)
    with pytest.raises(NotFound):
        await kit.status(container_id)


@pytest.mark.parametrize("call", ["stop_pod_sandbox", "remove_pod_sandbox", "remove_container"])
async def test_stop_and_remove_of_what_is_not_there(kit: Kit, call: str) -> None:
    await getattr(kit.client.runtime, call)("0" * 64)


async def test_stop_of_a_container_that_is_not_there(kit: Kit) -> None:
    await kit.client.runtime.stop_container("0" * 64, 0)


@pytest.mark.parametrize("call", ["container_status", "start_container", "pod_sandbox_status"])
async def test_what_is_not_there_is_not_found(kit: Kit, call: str) -> None:
    with pytest.raises(NotFound):
        await getattr(kit.client.runtime, call)("0" * 64)


async def test_a_container_in_an_unknown_sandbox(kit: Kit) -> None:
    kit.configs["0" * 64] = kit.sandbox_config()
    with pytest.raises(NotFound):
        await kit.create("0" * 64, ["true"])
    del kit.configs["0" * 64]


async def test_a_missing_image_is_named(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match="no-such-image"):
        await kit.create(sandbox_id, ["true"], image=api.ImageSpec(image="localhost:1/no-such-image:1"))


async def test_output_of_children_that_outlive_the_process(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    status = await kit.ended(await kit.start(sandbox_id, ["sh", "-c", "sleep 1000 & echo started"]))
    assert (status.exit_code, kit.output(status)) == (0, "started\n")


async def test_verbose_status_has_what_tools_read(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    info = json.loads((await kit.client.runtime.container_status(container_id, verbose=True)).info["info"])
    assert info["pid"] > 1
    assert info["sandboxID"] == sandbox_id
    assert info["runtimeSpec"]["process"]["args"] == ["sleep", "1000"]
    # A started container may still be the OCI runtime's init for an instant.
    async with asyncio.timeout(WAIT_LIMIT):
        while b"1000" not in Path(f"/proc/{info['pid']}/cmdline").read_bytes():
            await asyncio.sleep(0.02)


async def until_logged(kit: Kit, container_id: str, text: str) -> None:
    async with asyncio.timeout(WAIT_LIMIT):
        while text not in kit.output(await kit.status(container_id)):
            await asyncio.sleep(0.05)
