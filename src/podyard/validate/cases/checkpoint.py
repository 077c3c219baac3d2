"""CheckpointContainer, CheckpointPod, RestorePod: done, or refused with the reason."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import FailedPrecondition, PodyardError
from podyard.validate.case import case
from podyard.validate.expect import equal, holds, skip
from podyard.validate.kit import Kit


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


@case("checkpoint", "a sandbox is saved and restored", needs="the calls CheckpointPod and RestorePod")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    path = str(kit.folder / "pod.tar")
    request = api.CheckpointPodRequest(pod_sandbox_id=sandbox_id, output_path=path, container_ids=[container_id])
    try:
        await kit.runtime.call("CheckpointPod", request)
    except FailedPrecondition as error:
        skip(f"this host cannot: {error}")
    config = kit.sandbox_config()
    container = await kit.container_config()
    container.metadata.CopyFrom((await kit.status(container_id)).metadata)
    restore = api.RestorePodRequest(
        checkpoint_path=path,
        config=config,
        runtime_handler=kit.session.target.handler,
        container_configs=[container],
    )
    answer = await kit.runtime.call("RestorePod", restore)
    equal([entry.name for entry in answer.restored_containers], [container.metadata.name], "restored containers")


@case("checkpoint", "RestorePod of a file that does not exist is refused", needs="the call RestorePod")
async def _(kit: Kit) -> None:
    request = api.RestorePodRequest(checkpoint_path=str(kit.folder / "none.tar"), config=kit.sandbox_config())
    await kit.refused(kit.runtime.call("RestorePod", request), PodyardError)
