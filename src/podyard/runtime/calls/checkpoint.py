"""The calls on checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from podyard.cri import api
from podyard.errors import AlreadyExists, InvalidArgument
from podyard.lifecycle import containers
from podyard.operations import time_left
from podyard.runtime import (
    container_checkpoint,
    container_create,
    criu,
    pod_checkpoint,
    sandbox_checkpoint,
    sandbox_run,
)
from podyard.runtime.calls.base import Calls, check_is_ready, taken
from podyard.runtime.pod_checkpoint import SavedPod
from podyard.runtime.sandbox_restore import RestorePod
from podyard.runtime.store import SandboxEntry, sandbox_name


class CheckpointCalls(Calls):
    """CheckpointContainer, CheckpointPod and RestorePod."""

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
        """Save the running containers of a pod to a directory, all at one moment; they go on running.

        The caller's deadline is the limit (KEP-5823): when it has passed, all is undone.
        """
        context, sandbox = self._context, self._store.sandbox(request.pod_sandbox_id)
        _check_options(request.options)
        entries = sandbox_checkpoint.chosen(self._store, sandbox, request.container_ids)
        pod_checkpoint.check_can_be_restored(sandbox.config, [entry.config for entry in entries])
        left = time_left()
        operation = sandbox_checkpoint.CheckpointPod(
            context,
            sandbox.record.id,
            Path(request.output_path),
            [entry.record.id for entry in entries],
            criu.LONGEST if left is None else min(left, criu.LONGEST),
        )
        if not context.engine.has(operation):
            try:
                await asyncio.to_thread(pod_checkpoint.check_output, request.output_path)
            except AlreadyExists:
                if not context.engine.has(operation):  # else the same request came first, and has begun to write
                    raise
        await context.engine.run(operation)
        return api.CheckpointPodResponse()

    async def RestorePod(self, request: api.RestorePodRequest) -> api.RestorePodResponse:
        """Make a sandbox and containers out of a pod's checkpoint; starting a container brings its processes back."""
        context, config = self._context, request.config
        _check_options(request.options)
        saved = await asyncio.to_thread(pod_checkpoint.read, request.checkpoint_path)
        sandbox = sandbox_run.planned(context, config, request.runtime_handler)
        pod_checkpoint.check_can_be_restored(config, request.container_configs)
        wanted = [(one, container_create.image_of(context, one.image).id) for one in request.container_configs]
        pod_checkpoint.check_fits(saved, config, wanted, runtime=sandbox.runtime)
        operation = RestorePod(context, sandbox, Path(request.checkpoint_path), saved, request.container_configs)
        existing = self._store.sandbox_by_name(sandbox_name(config))
        if existing is None or context.engine.has(operation):
            return self._restored(await context.engine.run(operation))
        if not self._is_restored(existing, request, saved):
            raise AlreadyExists(taken("pod sandbox", existing.record.id, config.metadata.name))
        check_is_ready(existing)
        return self._restored(existing.record.id)

    def _is_restored(self, sandbox: SandboxEntry, request: api.RestorePodRequest, saved: SavedPod) -> bool:
        """Whether a sandbox is what the same request has made before."""
        folder = Path(request.checkpoint_path, saved.id)
        sources = {one.name: str(folder / one.id) for one in saved.containers}
        wanted = {
            (config.SerializeToString(deterministic=True), sources[config.metadata.name])
            for config in request.container_configs
        }
        there = {(one.record.config, one.record.restored_from) for one in self._store.containers_of(sandbox.record.id)}
        same = sandbox.record.config == request.config.SerializeToString(deterministic=True)
        return same and sandbox.record.handler == request.runtime_handler and wanted == there

    def _restored(self, sandbox_id: str) -> api.RestorePodResponse:
        found = self._store.containers_of(sandbox_id)
        made = [api.RestoredContainer(name=one.config.metadata.name, container_id=one.record.id) for one in found]
        return api.RestorePodResponse(pod_sandbox_id=sandbox_id, restored_containers=made)


def _check_options(options: Mapping[str, str]) -> None:
    if options:
        raise InvalidArgument(f"podyard has no options for checkpoints: {', '.join(sorted(options))} is not one")
