"""The calls on containers."""

from __future__ import annotations

from pathlib import Path

from podyard.cri import api
from podyard.errors import AlreadyExists, FailedPrecondition
from podyard.lifecycle import containers
from podyard.lifecycle.requests import check_name
from podyard.oci import monitor
from podyard.runtime import container_create, exec_sync, messages
from podyard.runtime.calls.base import Calls, known, read_spec, taken
from podyard.runtime.container_remove import RemoveContainer
from podyard.runtime.container_start import StartContainer
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.store import ContainerEntry, container_name


class ContainerCalls(Calls):
    """CreateContainer to RemoveContainer, status, list, ExecSync and the log."""

    async def CreateContainer(self, request: api.CreateContainerRequest) -> api.CreateContainerResponse:
        """Make a container, or return the one that the same request made before."""
        context, config = self._context, request.config
        sandbox = self._store.sandbox(request.pod_sandbox_id)
        check_name(config.metadata.name, "the container's name")
        serialized = config.SerializeToString(deterministic=True)
        existing = self._store.container_by_name(container_name(sandbox.record.id, config))
        if existing is not None:
            if existing.record.config == serialized:
                return api.CreateContainerResponse(container_id=existing.record.id)
            raise AlreadyExists(taken("container", existing.record.id, config.metadata.name))
        made = await context.engine.run(container_create.CreateContainer.planned(context, sandbox, config))
        return api.CreateContainerResponse(container_id=made)

    async def StartContainer(self, request: api.StartContainerRequest) -> api.StartContainerResponse:
        """Start a created container."""
        entry = self._store.container(request.container_id)
        containers.check_may_start(entry.record)
        await self._context.engine.run(StartContainer(self._context, entry.record.id))
        return api.StartContainerResponse()

    async def StopContainer(self, request: api.StopContainerRequest) -> api.StopContainerResponse:
        """Stop a container within ``timeout`` seconds; a later call with less time shortens an earlier one."""
        entry = known(self._store.container, request.container_id)
        if entry is not None and entry.record.state != "exited":
            self._hurry(entry.record.id, request.timeout)
            await self._context.engine.run(StopContainer(self._context, entry.record.id, request.timeout))
        return api.StopContainerResponse()

    async def RemoveContainer(self, request: api.RemoveContainerRequest) -> api.RemoveContainerResponse:
        """Remove a container, by force if it runs; one that is not there has been removed."""
        entry = known(self._store.container, request.container_id)
        if entry is not None:
            self._hurry(entry.record.id, 0)
            await self._context.engine.run(RemoveContainer(self._context, entry.record.id))
        return api.RemoveContainerResponse()

    async def ContainerStatus(self, request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
        """A container in full."""
        entry = self._store.container(request.container_id)
        response = api.ContainerStatusResponse(status=messages.container_status(entry.record, entry.config))
        if request.verbose:
            response.info.update(self._container_info(entry))
        return response

    async def ListContainers(self, request: api.ListContainersRequest) -> api.ListContainersResponse:
        """Containers that fit the filter, the newest first."""
        wanted = request.filter
        found = [
            entry
            for entry in self._store.containers.values()
            if entry.record.id.startswith(wanted.id)
            and entry.record.sandbox_id.startswith(wanted.pod_sandbox_id)
            and (not wanted.HasField("state") or entry.message.state == wanted.state.state)
            and messages.matches_labels(entry.config.labels, wanted.label_selector.items())
        ]
        found.sort(key=lambda entry: entry.record.created_at, reverse=True)
        return api.ListContainersResponse(containers=[entry.message for entry in found])

    async def ExecSync(self, request: api.ExecSyncRequest) -> api.ExecSyncResponse:
        """Run a command in a container."""
        return await exec_sync.exec_sync(self._context, request)

    async def ReopenContainerLog(self, request: api.ReopenContainerLogRequest) -> api.ReopenContainerLogResponse:
        """Return when the container writes to a new log file; the old one was renamed by the caller."""
        entry = self._store.container(request.container_id)
        containers.check_is_running(entry.record)
        if not entry.record.log_path:
            raise FailedPrecondition(f"container {entry.record.id[:12]} has no log: it was made without a log_path")
        bundle = self._context.paths.bundle(entry.record.id)
        await monitor.reopen_log(bundle, Path(entry.record.log_path))
        return api.ReopenContainerLogResponse()

    def _container_info(self, entry: ContainerEntry) -> dict[str, str]:
        record = entry.record
        running = record.state in {"created", "running"} and record.process is not None
        return messages.info(
            {
                "sandboxID": record.sandbox_id,
                "pid": record.process.pid if running and record.process else 0,
                "config": messages.as_json(entry.config),
                "runtimeSpec": read_spec(self._context.paths.bundle(record.id)),
                "privileged": entry.config.linux.security_context.privileged,
            }
        )
