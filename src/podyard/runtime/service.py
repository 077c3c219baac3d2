"""The RuntimeService: one method a call, named as the protocol names it.

Requests are checked here, before anything is touched; what changes the host is an operation. A call of the protocol
that has no method here is answered with Unimplemented by the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from podyard.cri import api
from podyard.errors import AlreadyExists, FailedPrecondition, NotFound
from podyard.lifecycle import containers, signals
from podyard.lifecycle.requests import check_name
from podyard.model.ids import new_id
from podyard.model.records import Container, Sandbox
from podyard.oci import monitor
from podyard.runtime import container_create, exec_sync, messages, sandbox_run, status
from podyard.runtime.container_remove import RemoveContainer
from podyard.runtime.container_start import StartContainer
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.context import Context, now
from podyard.runtime.sandbox_stop import RemovePodSandbox, StopPodSandbox
from podyard.runtime.store import ContainerEntry, SandboxEntry, container_name, sandbox_name

EntryType = TypeVar("EntryType", SandboxEntry, ContainerEntry)


class RuntimeService:
    """The calls. Ids may be given as unique prefixes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    # --- the runtime itself

    async def Version(self, request: api.VersionRequest, api_version: str = "v1") -> api.VersionResponse:
        """Name and versions."""
        return status.version(api_version)

    async def Status(self, request: api.StatusRequest) -> api.StatusResponse:
        """Conditions, handlers, features."""
        return status.status(self._context, verbose=request.verbose)

    async def RuntimeConfig(self, request: api.RuntimeConfigRequest) -> api.RuntimeConfigResponse:
        """The cgroup driver."""
        return status.runtime_config(self._context)

    # --- sandboxes

    async def RunPodSandbox(self, request: api.RunPodSandboxRequest) -> api.RunPodSandboxResponse:
        """Make a sandbox, or return the one that the same request made before."""
        context, config = self._context, request.config
        sandbox_run.check(config)
        handler = context.handler(request.runtime_handler)
        serialized = config.SerializeToString(deterministic=True)
        existing = self._store.sandbox_by_name(sandbox_name(config))
        if existing is not None:
            if existing.record.config == serialized and existing.record.handler == request.runtime_handler:
                return api.RunPodSandboxResponse(pod_sandbox_id=existing.record.id)
            raise AlreadyExists(_taken("pod sandbox", existing.record.id, config.metadata.name))
        sandbox = Sandbox(
            id=new_id(),
            config=serialized,
            handler=request.runtime_handler,
            runtime=handler.runtime.name,
            created_at=now(),
            boot_id=context.boot_id,
        )
        made = await context.engine.run(sandbox_run.RunPodSandbox(context, sandbox))
        return api.RunPodSandboxResponse(pod_sandbox_id=made)

    async def StopPodSandbox(self, request: api.StopPodSandboxRequest) -> api.StopPodSandboxResponse:
        """Stop a sandbox; one that is not there has been stopped."""
        entry = _known(self._store.sandbox, request.pod_sandbox_id)
        if entry is not None:
            self._hurry(entry.record.id, 0)
            await self._context.engine.run(StopPodSandbox(self._context, entry.record.id))
        return api.StopPodSandboxResponse()

    async def RemovePodSandbox(self, request: api.RemovePodSandboxRequest) -> api.RemovePodSandboxResponse:
        """Remove a sandbox and its containers; one that is not there has been removed."""
        entry = _known(self._store.sandbox, request.pod_sandbox_id)
        if entry is not None:
            self._hurry(entry.record.id, 0)
            await self._context.engine.run(RemovePodSandbox(self._context, entry.record.id))
        return api.RemovePodSandboxResponse()

    async def PodSandboxStatus(self, request: api.PodSandboxStatusRequest) -> api.PodSandboxStatusResponse:
        """A sandbox in full, with its containers."""
        entry = self._store.sandbox(request.pod_sandbox_id)
        response = api.PodSandboxStatusResponse(
            status=messages.sandbox_status(entry.record, entry.config),
            containers_statuses=[
                messages.container_status(container.record, container.config)
                for container in self._store.containers_of(entry.record.id)
            ],
            timestamp=now(),
        )
        if request.verbose:
            response.info.update(self._sandbox_info(entry))
        return response

    async def ListPodSandbox(self, request: api.ListPodSandboxRequest) -> api.ListPodSandboxResponse:
        """Sandboxes that fit the filter, the newest first."""
        wanted = request.filter
        found = [
            entry
            for entry in self._store.sandboxes.values()
            if entry.record.id.startswith(wanted.id)
            and (not wanted.HasField("state") or messages.sandbox_state(entry.record) == wanted.state.state)
            and messages.matches_labels(entry.config.labels, wanted.label_selector.items())
        ]
        found.sort(key=lambda entry: entry.record.created_at, reverse=True)
        return api.ListPodSandboxResponse(items=[entry.message for entry in found])

    # --- containers

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
            raise AlreadyExists(_taken("container", existing.record.id, config.metadata.name))
        container_create.check(config, sandbox)
        image = context.images.find(config.image.image)
        if image is None:
            raise NotFound(f"image {config.image.image} is not here: pull it first")
        container = Container(
            id=new_id(),
            sandbox_id=sandbox.record.id,
            config=serialized,
            runtime=context.handler(sandbox.record.handler).runtime.name,
            image_id=image.id,
            image_ref=image.repo_digests[0] if image.repo_digests else image.id,
            created_at=now(),
            boot_id=context.boot_id,
            stop_signal=_stop_signal(config, context.images.image_config(image).stop_signal),
            log_path=_log_path(sandbox.config, config),
        )
        made = await context.engine.run(container_create.CreateContainer(context, container, image))
        return api.CreateContainerResponse(container_id=made)

    async def StartContainer(self, request: api.StartContainerRequest) -> api.StartContainerResponse:
        """Start a created container."""
        entry = self._store.container(request.container_id)
        containers.check_may_start(entry.record)
        await self._context.engine.run(StartContainer(self._context, entry.record.id))
        return api.StartContainerResponse()

    async def StopContainer(self, request: api.StopContainerRequest) -> api.StopContainerResponse:
        """Stop a container within ``timeout`` seconds; a later call with less time shortens an earlier one."""
        entry = _known(self._store.container, request.container_id)
        if entry is not None and entry.record.state != "exited":
            self._hurry(entry.record.id, request.timeout)
            await self._context.engine.run(StopContainer(self._context, entry.record.id, request.timeout))
        return api.StopContainerResponse()

    async def RemoveContainer(self, request: api.RemoveContainerRequest) -> api.RemoveContainerResponse:
        """Remove a container, by force if it runs; one that is not there has been removed."""
        entry = _known(self._store.container, request.container_id)
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

    # --- helpers

    def _hurry(self, subject: str, timeout: float) -> None:
        """Shorten the stops in flight of a container, or of a sandbox's containers."""
        for operation, _ in self._context.engine.in_flight(subject):
            if isinstance(operation, StopContainer):
                operation.hurry(timeout)

    def _sandbox_info(self, entry: SandboxEntry) -> dict[str, str]:
        record, paths = entry.record, self._context.paths
        return messages.info(
            {
                "pid": record.infra.pid if record.infra else 0,
                "config": messages.as_json(entry.config),
                "runtimeSpec": _read_spec(paths.bundle(record.id)),
                "runtimeHandler": record.handler,
                "cniResult": json.loads(record.network_result),
                "netNamespaceClosed": not (paths.pins(record.id) / "network").exists(),
            }
        )

    def _container_info(self, entry: ContainerEntry) -> dict[str, str]:
        record = entry.record
        running = record.state in {"created", "running"} and record.process is not None
        return messages.info(
            {
                "sandboxID": record.sandbox_id,
                "pid": record.process.pid if running and record.process else 0,
                "config": messages.as_json(entry.config),
                "runtimeSpec": _read_spec(self._context.paths.bundle(record.id)),
                "privileged": entry.config.linux.security_context.privileged,
            }
        )


def _known(find: Callable[[str], EntryType], prefix: str) -> EntryType | None:
    """What goes by an id, or None: to stop or remove what is not there is done already."""
    try:
        return find(prefix)
    except NotFound:
        return None


def _taken(what: str, holder: str, name: str) -> str:
    return (
        f"{what} {holder[:12]} has the name {name} with the same attempt and another configuration: "
        "remove it first, or use a higher attempt"
    )


def _stop_signal(config: api.ContainerConfig, image_signal: str) -> str:
    """The request's signal, else the image's, else SIGTERM."""
    if config.stop_signal != api.SIGNAL_RUNTIME_DEFAULT:
        return api.Signal.Name(config.stop_signal).removeprefix("SIGNAL_")
    return signals.canonical(image_signal) if image_signal else signals.DEFAULT


def _log_path(sandbox: api.PodSandboxConfig, config: api.ContainerConfig) -> str:
    if not sandbox.log_directory or not config.log_path:
        return ""
    return str(Path(sandbox.log_directory) / config.log_path)


def _read_spec(bundle: Path) -> object:
    try:
        return json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
