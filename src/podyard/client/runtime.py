"""The RuntimeService: the runtime itself, pod sandboxes, containers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from podyard.client.statistics import StatisticsClient
from podyard.cri import api

if TYPE_CHECKING:
    from podyard.client.streams import PortForward, Session, Transport

__all__ = ["RuntimeClient"]


class RuntimeClient(StatisticsClient):
    """The calls, with what they return unpacked. All raise as ``ServiceClient.call`` does."""

    SERVICE = "RuntimeService"

    # --- the runtime itself

    async def version(self) -> api.VersionResponse:
        """The runtime's name and versions."""
        answer: api.VersionResponse = await self.call("Version", api.VersionRequest())
        return answer

    async def status(self, verbose: bool = False) -> api.StatusResponse:
        """Conditions, handlers and features."""
        answer: api.StatusResponse = await self.call("Status", api.StatusRequest(verbose=verbose))
        return answer

    async def runtime_config(self) -> api.RuntimeConfigResponse:
        """The settings that both ends share. Many runtimes lack it, and v1alpha2 does: Unimplemented."""
        answer: api.RuntimeConfigResponse = await self.call("RuntimeConfig", api.RuntimeConfigRequest())
        return answer

    async def update_runtime_config(self, pod_cidr: str) -> None:
        """Tell which addresses pods get. ``pod_cidr``: one subnet, or one of each family with a comma between."""
        config = api.RuntimeConfig(network_config=api.NetworkConfig(pod_cidr=pod_cidr))
        await self.call("UpdateRuntimeConfig", api.UpdateRuntimeConfigRequest(runtime_config=config))

    def get_container_events(
        self, on_open: Callable[[], None] | None = None
    ) -> AsyncGenerator[api.ContainerEventResponse, None]:
        """What happens to sandboxes and containers from now on, until the generator is closed.

        ``on_open`` is called when the runtime serves the stream: nothing that happens later is missed. Raises
        ResourceExhausted when events were not read quickly enough, Unavailable when the runtime stops, and then one has
        to list everything and subscribe again.
        """
        return self.stream("GetContainerEvents", api.GetEventsRequest(), on_open=on_open)

    # --- sandboxes

    async def run_pod_sandbox(self, config: api.PodSandboxConfig, handler: str = "") -> str:
        """Make and start a sandbox; its id. ``handler``: a runtime handler's name, "" for the default."""
        request = api.RunPodSandboxRequest(config=config, runtime_handler=handler)
        answer: api.RunPodSandboxResponse = await self.call("RunPodSandbox", request)
        return answer.pod_sandbox_id

    async def stop_pod_sandbox(self, id: str) -> None:
        """Stop a sandbox and all in it; one that is gone counts as stopped."""
        await self.call("StopPodSandbox", api.StopPodSandboxRequest(pod_sandbox_id=id))

    async def remove_pod_sandbox(self, id: str) -> None:
        """Remove a sandbox and all in it, by force; one that is gone counts as removed."""
        await self.call("RemovePodSandbox", api.RemovePodSandboxRequest(pod_sandbox_id=id))

    async def pod_sandbox_status(self, id: str, verbose: bool = False) -> api.PodSandboxStatusResponse:
        """A sandbox in full. Raises NotFound."""
        request = api.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=verbose)
        answer: api.PodSandboxStatusResponse = await self.call("PodSandboxStatus", request)
        return answer

    async def list_pod_sandbox(self, filter: api.PodSandboxFilter | None = None) -> list[api.PodSandbox]:
        """The sandboxes that fit a filter, or all."""
        found = await self._streamed("StreamPodSandboxes", api.StreamPodSandboxesRequest(filter=filter))
        if found is not None:
            return [sandbox for part in found for sandbox in part.pod_sandboxes]
        answer: api.ListPodSandboxResponse = await self.call("ListPodSandbox", api.ListPodSandboxRequest(filter=filter))
        return list(answer.items)

    async def update_pod_sandbox_resources(
        self,
        id: str,
        resources: api.LinuxContainerResources | None = None,
        overhead: api.LinuxContainerResources | None = None,
    ) -> None:
        """Tell the limits of all containers of a sandbox together, and what the sandbox itself takes beside them."""
        request = api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=id, resources=resources, overhead=overhead)
        await self.call("UpdatePodSandboxResources", request)

    # --- containers

    async def create_container(
        self, sandbox_id: str, config: api.ContainerConfig, sandbox_config: api.PodSandboxConfig
    ) -> str:
        """Make a container in a sandbox; its id. ``sandbox_config``: that with which the sandbox was made."""
        request = api.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config)
        answer: api.CreateContainerResponse = await self.call("CreateContainer", request)
        return answer.container_id

    async def start_container(self, id: str) -> None:
        """Start a created container. Raises NotFound, and FailedPrecondition when it was started before."""
        await self.call("StartContainer", api.StartContainerRequest(container_id=id))

    async def stop_container(self, id: str, timeout: int) -> None:
        """Stop a container: its stop signal, and SIGKILL after ``timeout`` seconds (at once with 0)."""
        await self.call("StopContainer", api.StopContainerRequest(container_id=id, timeout=timeout))

    async def remove_container(self, id: str) -> None:
        """Remove a container, by force if it runs; one that is gone counts as removed."""
        await self.call("RemoveContainer", api.RemoveContainerRequest(container_id=id))

    async def container_status(self, id: str, verbose: bool = False) -> api.ContainerStatusResponse:
        """A container in full. Raises NotFound."""
        request = api.ContainerStatusRequest(container_id=id, verbose=verbose)
        answer: api.ContainerStatusResponse = await self.call("ContainerStatus", request)
        return answer

    async def list_containers(self, filter: api.ContainerFilter | None = None) -> list[api.Container]:
        """The containers that fit a filter, or all."""
        found = await self._streamed("StreamContainers", api.StreamContainersRequest(filter=filter))
        if found is not None:
            return [container for part in found for container in part.containers]
        answer: api.ListContainersResponse = await self.call("ListContainers", api.ListContainersRequest(filter=filter))
        return list(answer.containers)

    async def update_container_resources(self, id: str, resources: api.LinuxContainerResources) -> None:
        """Change a container's limits; those that are 0 or empty in ``resources`` stay as they are."""
        request = api.UpdateContainerResourcesRequest(container_id=id, linux=resources)
        await self.call("UpdateContainerResources", request)

    async def checkpoint_container(self, id: str, location: str, timeout: int = 0) -> None:
        """Save a running container to an archive on the runtime's host; it goes on running.

        ``location``: the archive's absolute path. ``timeout``: seconds, 0 for no limit.
        """
        request = api.CheckpointContainerRequest(container_id=id, location=location, timeout=timeout)
        await self.call("CheckpointContainer", request)

    async def exec_sync(self, id: str, cmd: Iterable[str], timeout: int = 0) -> api.ExecSyncResponse:
        """Run a command in a container to its end: its output and exit code.

        ``timeout``: seconds, 0 for no limit. Raises DeadlineExceeded when the command was killed after ``timeout``.
        """
        answer: api.ExecSyncResponse = await self.call(
            "ExecSync", api.ExecSyncRequest(container_id=id, cmd=cmd, timeout=timeout)
        )
        return answer

    async def reopen_container_log(self, id: str) -> None:
        """Make a running container write to a new log file; the old one was renamed before."""
        await self.call("ReopenContainerLog", api.ReopenContainerLogRequest(container_id=id))

    # --- streaming sessions: the runtime gives a URL, the rest is between this client and its streaming server

    def exec(
        self,
        id: str,
        cmd: Iterable[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        transport: Transport = "auto",
    ) -> AbstractAsyncContextManager[Session]:
        """Run a command in a container, with its standard streams here while the block lasts.

        ``tty``: it gets a terminal, and writes to ``stdout`` alone. What happens to a command that has not ended when
        the block is left is the runtime's affair: podyard kills it.

            async with client.runtime.exec(id, ["cat"], stdin=True) as session:
                await session.stdin.write(b"text"); await session.stdin.close()
                async for output in session: print(output.stream, output.data)
                code = await session.wait()

        Raises Unavailable, DeadlineExceeded and the like when the streaming server cannot be reached; what is wrong
        with the command is told by ``Session.wait``.
        """
        request = api.ExecRequest(
            container_id=id, cmd=cmd, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty
        )
        return self._session("Exec", request, transport)

    def attach(
        self,
        id: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        transport: Transport = "auto",
    ) -> AbstractAsyncContextManager[Session]:
        """The standard streams of a container's own process, while the block lasts; leaving it lets the process alone.

        ``tty``: whether the container was made with a terminal. Raises as ``exec`` does.
        """
        request = api.AttachRequest(container_id=id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
        return self._session("Attach", request, transport)

    @asynccontextmanager
    async def port_forward(self, sandbox_id: str, *, transport: Transport = "auto") -> AsyncIterator[PortForward]:
        """Connections to ports in a pod, by ``PortForward.connect``; all are closed when the block is left.

        Raises NotFound for a sandbox that is not there.
        """
        from podyard.client.streams import PortForward

        async def ask(port: int) -> str:
            # Over SPDY the port is named by each stream; over WebSocket by this request.
            request = api.PortForwardRequest(pod_sandbox_id=sandbox_id, port=[port])
            answer: api.PortForwardResponse = await self.call("PortForward", request)
            return answer.url

        await self.pod_sandbox_status(sandbox_id)
        forward = PortForward(ask, transport)
        try:
            yield forward
        finally:
            await forward.close()

    @asynccontextmanager
    async def _session(
        self, method: str, request: api.ExecRequest | api.AttachRequest, transport: Transport
    ) -> AsyncIterator[Session]:
        from podyard.client.streams import Wanted, open_session

        async def ask() -> str:
            url: str = (await self.call(method, request)).url
            return url

        wanted = Wanted(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)
        async with open_session(ask, wanted, transport) as session:
            yield session
