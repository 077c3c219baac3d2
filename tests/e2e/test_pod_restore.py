"""RestorePod, where something is wrong with the checkpoint, the request or the host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import Images
from tests.support.pods import Kit, kit_on
from tests.support.saved_pods import counting_pod
from tests.support.servers import Podyard

from podyard.cri import api
from podyard.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PodyardError,
)


@pytest.fixture
async def kit(saver: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with kit_on(saver, images.busybox) as kit:
        yield kit


async def test_what_does_not_fit_the_checkpoint_is_refused(kit: Kit, images: Images, output: Path) -> None:
    ours = counting_pod(kit)
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


async def test_the_same_request_gives_the_same_sandbox_until_that_is_stopped(kit: Kit, output: Path) -> None:
    ours = counting_pod(kit)
    await ours.start()
    await ours.checkpoint(output)
    request = ours.request(output)
    restored = await ours.restore(request)
    assert await ours.restore(request) == restored
    await kit.client.runtime.stop_pod_sandbox(restored.pod_sandbox_id)
    with pytest.raises(AlreadyExists, match="remove it first"):
        await ours.restore(request)
    await kit.client.runtime.remove_pod_sandbox(restored.pod_sandbox_id)
    assert (await ours.restore(request)).pod_sandbox_id != restored.pod_sandbox_id


async def test_a_sandbox_of_another_configuration_that_has_the_name_is_in_the_way(kit: Kit, output: Path) -> None:
    ours = counting_pod(kit)
    await ours.start()
    await ours.checkpoint(output)
    with pytest.raises(AlreadyExists, match=f"pod sandbox {ours.id[:12]} has the name .* another configuration"):
        await ours.restore(ours.request(output, kit.configs[ours.id]))
    assert {one.id for one in await kit.client.runtime.list_containers()} == set(ours.ids)


async def test_a_part_that_is_missing_undoes_all_of_the_restore(kit: Kit, saver: Podyard, output: Path) -> None:
    ours = counting_pod(kit)
    await ours.start()
    await ours.checkpoint(output)
    (output / ours.id / ours.ids[1] / "upper").rename(output / "elsewhere")
    containers = {one.id for one in await kit.client.runtime.list_containers()}
    request = ours.request(output)
    with pytest.raises(PodyardError, match=r"cannot copy .*\(while copying the checkpoint\)"):
        await ours.restore(request)
    assert {one.id for one in await kit.client.runtime.list_containers()} == containers
    assert request.config.metadata not in [one.metadata for one in await kit.client.runtime.list_pod_sandbox()]
    assert {path.name for path in (saver.root / "containers").iterdir()} == containers
    (output / "elsewhere").rename(output / ours.id / ours.ids[1] / "upper")
    assert len((await ours.restore(request)).restored_containers) == 2


async def test_a_container_that_cannot_be_restored_has_not_started(kit: Kit, output: Path, fault: Path) -> None:
    ours = counting_pod(kit)
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
