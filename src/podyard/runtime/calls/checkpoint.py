"""The calls on checkpoints."""

from __future__ import annotations

import asyncio

from podyard.cri import api
from podyard.errors import Unimplemented
from podyard.lifecycle import containers
from podyard.runtime import container_checkpoint
from podyard.runtime.calls.base import Calls

_ONE_BY_ONE = "podyard saves containers one by one (CheckpointContainer), and has no archive of a whole pod"


class CheckpointCalls(Calls):
    """CheckpointContainer; whole pods are neither saved nor restored yet."""

    async def CheckpointContainer(self, request: api.CheckpointContainerRequest) -> api.CheckpointContainerResponse:
        """Save a running container to an archive, through CRIU; it goes on running."""
        context, entry = self._context, self._store.container(request.container_id)
        containers.check_is_running(entry.record)
        await asyncio.to_thread(container_checkpoint.check, request.location, request.timeout)
        operation = container_checkpoint.CheckpointContainer(
            context, entry.record.id, request.location, request.timeout
        )
        await context.engine.run(operation)
        return api.CheckpointContainerResponse()

    async def CheckpointPod(self, request: api.CheckpointPodRequest) -> api.CheckpointPodResponse:
        """Not built: says so, after the sandbox was found."""
        entry = self._store.sandbox(request.pod_sandbox_id)
        raise Unimplemented(f"pod sandbox {entry.record.id[:12]} cannot be checkpointed: {_ONE_BY_ONE}")

    async def RestorePod(self, request: api.RestorePodRequest) -> api.RestorePodResponse:
        """Not built: says so."""
        raise Unimplemented(f"a pod cannot be restored from {request.checkpoint_path}: {_ONE_BY_ONE}")
