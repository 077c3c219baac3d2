"""CheckpointContainer, CheckpointPod, RestorePod: done, or refused with the reason."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound, PodyardError
from podyard.validate.case import case
from podyard.validate.expect import equal, holds, skip
from podyard.validate.kit import IDLE, NOBODY, Kit


@case("checkpoint", "a container is saved to a file and goes on", needs="the call CheckpointContainer")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    location = kit.folder / "checkpoint.tar"
    try:
        await kit.runtime.checkpoint_container(container_id, str(location), 20)
    except FailedPrecondition as error:
        skip(f"this host cannot: {error}")
    finally:
        equal((await kit.status(container_id)).state, api.CONTAINER_RUNNING, "state afterwards")
    holds(location.stat().st_size > 0, "a file with content", location.stat().st_size)


@case("checkpoint", "a relative path is refused", needs="the call CheckpointContainer")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    await kit.refused(kit.runtime.checkpoint_container(container_id, "relative.tar", 5), PodyardError)


@case("checkpoint", "a container that has exited is refused", needs="the call CheckpointContainer")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["true"])
    await kit.ended(container_id)
    location = str(kit.folder / "checkpoint.tar")
    await kit.refused(kit.runtime.checkpoint_container(container_id, location, 5), PodyardError)


@case("checkpoint", "a pod is saved, goes on, and comes back", needs="the calls CheckpointPod and RestorePod")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    request = api.CheckpointPodRequest(
        pod_sandbox_id=sandbox_id, output_path=_output(kit), container_ids=[container_id]
    )
    try:
        await kit.runtime.call("CheckpointPod", request)
    except FailedPrecondition as error:
        skip(f"this host cannot: {error}")
    finally:
        equal((await kit.status(container_id)).state, api.CONTAINER_RUNNING, "state afterwards")
        equal((await kit.exec(container_id, "echo", "alive")).strip(), "alive", "what a command writes afterwards")
    container = await kit.container_config(IDLE)
    container.metadata.CopyFrom((await kit.status(container_id)).metadata)
    restore = api.RestorePodRequest(
        checkpoint_path=request.output_path,
        config=kit.sandbox_config(),
        runtime_handler=kit.session.target.handler,
        container_configs=[container],
    )
    answer = await kit.runtime.call("RestorePod", restore)
    equal([entry.name for entry in answer.restored_containers], [container.metadata.name], "restored containers")
    restored = answer.restored_containers[0].container_id
    equal((await kit.status(restored)).state, api.CONTAINER_CREATED, "state before the start")
    await kit.runtime.start_container(restored)
    equal((await kit.status(restored)).state, api.CONTAINER_RUNNING, "state after the start")


@case("checkpoint", "CheckpointPod of a sandbox that does not exist is refused", needs="the call CheckpointPod")
async def _(kit: Kit) -> None:
    request = api.CheckpointPodRequest(pod_sandbox_id=NOBODY, output_path=_output(kit))
    await kit.refused(kit.runtime.call("CheckpointPod", request), NotFound)


@case("checkpoint", "CheckpointPod takes no option that it does not know", needs="the call CheckpointPod")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    request = api.CheckpointPodRequest(
        pod_sandbox_id=sandbox_id, output_path=_output(kit), container_ids=[container_id], options={"unknown": "1"}
    )
    await kit.refused(kit.runtime.call("CheckpointPod", request), InvalidArgument)


@case("checkpoint", "RestorePod takes no option that it does not know", needs="the call RestorePod")
async def _(kit: Kit) -> None:
    request = api.RestorePodRequest(
        checkpoint_path=_output(kit),
        config=kit.sandbox_config(),
        container_configs=[await kit.container_config(IDLE)],
        options={"unknown": "1"},
    )
    await kit.refused(kit.runtime.call("RestorePod", request), InvalidArgument)


@case("checkpoint", "RestorePod of a directory without a checkpoint is refused", needs="the call RestorePod")
async def _(kit: Kit) -> None:
    request = api.RestorePodRequest(
        checkpoint_path=_output(kit),
        config=kit.sandbox_config(),
        container_configs=[await kit.container_config(IDLE)],
    )
    await kit.refused(kit.runtime.call("RestorePod", request), PodyardError)


def _output(kit: Kit) -> str:
    """An empty directory."""
    folder = kit.folder / "checkpoint"
    folder.mkdir()
    return str(folder)
