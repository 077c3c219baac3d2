"""An engine against a real gRPC server on a real socket, whose runtime keeps sandboxes and containers in memory."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest
from tests.support.objects import MemoryObjects

from podyard.client import Client
from podyard.cri import api
from podyard.errors import NotFound, PermissionDenied, PodyardError
from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.pods import PodEngine
from podyard.pods.host_mounts import remove_tree
from podyard.pods.restarts import BackOffPolicy
from podyard.server import Server


class MemoryRuntime:
    """The calls that the engine makes. ``calls`` has them in their order, as "Call subject".

    ``exits`` scripts containers by name: the exit code of each start in turn, None for one that goes on. ``fails`` has
    the errors of calls to come, by "Call subject"; ``exec_codes`` the exit codes of commands other than 0; ``on_start``
    is called with a container that has been started, ``on_sandbox`` before a sandbox is made, ``on_stop`` awaited in a
    StopContainer; ``looked`` is set when a sandbox's status is asked for.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.exits: defaultdict[str, list[int | None]] = defaultdict(list)
        self.exec_codes: dict[str, int] = {}
        self.fails: dict[str, PodyardError] = {}
        self.on_start: Callable[[api.ContainerStatus], None] = lambda status: None
        self.on_sandbox: Callable[[], None] = lambda: None
        self.on_stop: Callable[[api.StopContainerRequest], Awaitable[None]] | None = None
        self.looked = asyncio.Event()
        self.knows_stop_signals = True
        self.knows_groups_policy = True
        self.images: dict[str, api.Image] = {}
        self.registry = {"busybox:1", "other:1"}
        self.handlers: list[api.RuntimeHandler] = []
        self.sandboxes: dict[str, api.PodSandboxStatus] = {}
        self.sandbox_configs: dict[str, api.PodSandboxConfig] = {}
        self.containers: dict[str, api.ContainerStatus] = {}
        self.container_configs: dict[str, api.ContainerConfig] = {}
        self.owners: dict[str, str] = {}
        self.stop_timeouts: dict[str, int] = {}
        self.updates: list[api.LinuxContainerResources] = []
        self.credentials: dict[str, str] = {}
        """The user that each image's registry wants; none for the others."""
        self.asked_as: list[str] = []
        self.layers: dict[str, int] = {}
        """Bytes that containers have written, by their names."""
        self.memory: dict[str, int] = {}
        """Bytes that containers use, by their names."""
        self.image_root = ""
        """A directory on the images' file system."""
        self._count = 0

    def container(self, name: str, attempt: int = 0) -> api.ContainerStatus:
        """The container of that name and attempt."""
        for status in self.containers.values():
            if (status.metadata.name, status.metadata.attempt) == (name, attempt):
                return status
        raise KeyError(name)

    def config(self, name: str) -> api.ContainerConfig:
        """The request that made the first attempt at a container."""
        return self.container_configs[self.container(name).id]

    def end(self, status: api.ContainerStatus, exit_code: int) -> None:
        """A container's process ends."""
        status.state = api.CONTAINER_EXITED
        status.exit_code = exit_code
        status.reason = "Error" if exit_code else "Completed"
        status.finished_at = time.time_ns()

    def _called(self, call: str, subject: str = "") -> None:
        text = f"{call} {subject}".strip()
        self.calls.append(text)
        if text in self.fails:
            raise self.fails[text]

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._count:064x}"

    async def Version(self, request: api.VersionRequest) -> api.VersionResponse:
        return api.VersionResponse(
            version="0.1.0", runtime_name="memory", runtime_version="1", runtime_api_version="v1"
        )

    async def Status(self, request: api.StatusRequest) -> api.StatusResponse:
        conditions = [api.RuntimeCondition(type=kind, status=True) for kind in ("RuntimeReady", "NetworkReady")]
        return api.StatusResponse(
            status=api.RuntimeStatus(conditions=conditions),
            runtime_handlers=self.handlers,
            features=api.RuntimeFeatures(supplemental_groups_policy=self.knows_groups_policy),
        )

    async def ImageFsInfo(self, request: api.ImageFsInfoRequest) -> api.ImageFsInfoResponse:
        if not self.image_root:
            return api.ImageFsInfoResponse()
        usage = api.FilesystemUsage(fs_id=api.FilesystemIdentifier(mountpoint=self.image_root))
        return api.ImageFsInfoResponse(image_filesystems=[usage])

    async def RunPodSandbox(self, request: api.RunPodSandboxRequest) -> api.RunPodSandboxResponse:
        config = request.config
        self._called("RunPodSandbox", config.metadata.name)
        self.on_sandbox()
        sandbox_id = self._new_id()
        network = api.PodSandboxNetworkStatus(ip="10.0.0.2", additional_ips=[api.PodIP(ip="fd00::2")])
        host = config.linux.security_context.namespace_options.network == api.NODE
        self.sandbox_configs[sandbox_id] = config
        self.sandboxes[sandbox_id] = api.PodSandboxStatus(
            id=sandbox_id,
            metadata=config.metadata,
            state=api.SANDBOX_READY,
            created_at=time.time_ns(),
            network=None if host else network,
            labels=config.labels,
            annotations=config.annotations,
            runtime_handler=request.runtime_handler,
        )
        return api.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    async def StopPodSandbox(self, request: api.StopPodSandboxRequest) -> api.StopPodSandboxResponse:
        self._called("StopPodSandbox")
        if (sandbox := self.sandboxes.get(request.pod_sandbox_id)) is not None:
            sandbox.state = api.SANDBOX_NOTREADY
            for status in self._inside(sandbox.id):
                if status.state == api.CONTAINER_RUNNING:
                    self.end(status, 137)
        return api.StopPodSandboxResponse()

    async def RemovePodSandbox(self, request: api.RemovePodSandboxRequest) -> api.RemovePodSandboxResponse:
        self._called("RemovePodSandbox")
        for status in self._inside(request.pod_sandbox_id):
            del self.containers[status.id]
        self.sandboxes.pop(request.pod_sandbox_id, None)
        return api.RemovePodSandboxResponse()

    async def PodSandboxStatus(self, request: api.PodSandboxStatusRequest) -> api.PodSandboxStatusResponse:
        self.looked.set()
        if request.pod_sandbox_id not in self.sandboxes:
            raise NotFound(f"no sandbox {request.pod_sandbox_id}")
        return api.PodSandboxStatusResponse(status=self.sandboxes[request.pod_sandbox_id])

    async def ListPodSandbox(self, request: api.ListPodSandboxRequest) -> api.ListPodSandboxResponse:
        items = [
            api.PodSandbox(
                id=status.id,
                metadata=status.metadata,
                state=status.state,
                created_at=status.created_at,
                labels=status.labels,
                annotations=status.annotations,
                runtime_handler=status.runtime_handler,
            )
            for status in self.sandboxes.values()
        ]
        return api.ListPodSandboxResponse(items=items)

    async def CreateContainer(self, request: api.CreateContainerRequest) -> api.CreateContainerResponse:
        config = request.config
        self._called("CreateContainer", config.metadata.name)
        container_id = self._new_id()
        log = f"{request.sandbox_config.log_directory}/{config.log_path}"
        self.container_configs[container_id] = config
        self.owners[container_id] = request.pod_sandbox_id
        self.containers[container_id] = api.ContainerStatus(
            id=container_id,
            metadata=config.metadata,
            state=api.CONTAINER_CREATED,
            created_at=time.time_ns(),
            image=config.image,
            image_ref=config.image.image,
            image_id=config.image.image,
            labels=config.labels,
            annotations=config.annotations,
            log_path=log,
            stop_signal=config.stop_signal if self.knows_stop_signals else api.SIGNAL_RUNTIME_DEFAULT,
        )
        return api.CreateContainerResponse(container_id=container_id)

    async def StartContainer(self, request: api.StartContainerRequest) -> api.StartContainerResponse:
        status = self.containers[request.container_id]
        self._called("StartContainer", status.metadata.name)
        status.state = api.CONTAINER_RUNNING
        status.started_at = time.time_ns()
        script = self.exits[status.metadata.name]
        if script and (code := script.pop(0)) is not None:
            self.end(status, code)
        self.on_start(status)
        return api.StartContainerResponse()

    async def StopContainer(self, request: api.StopContainerRequest) -> api.StopContainerResponse:
        status = self.containers[request.container_id]
        self._called("StopContainer", status.metadata.name)
        self.stop_timeouts[status.metadata.name] = request.timeout
        if self.on_stop is not None:
            await self.on_stop(request)
        if status.state != api.CONTAINER_EXITED:
            self.end(status, 143)
        return api.StopContainerResponse()

    async def RemoveContainer(self, request: api.RemoveContainerRequest) -> api.RemoveContainerResponse:
        status = self.containers.get(request.container_id)
        self._called("RemoveContainer", f"{status.metadata.name}/{status.metadata.attempt}" if status else "")
        self.containers.pop(request.container_id, None)
        return api.RemoveContainerResponse()

    async def ContainerStatus(self, request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
        if request.container_id not in self.containers:
            raise NotFound(f"no container {request.container_id}")
        return api.ContainerStatusResponse(status=self.containers[request.container_id])

    async def ReopenContainerLog(self, request: api.ReopenContainerLogRequest) -> api.ReopenContainerLogResponse:
        status = self.containers[request.container_id]
        self._called("ReopenContainerLog", status.metadata.name)
        Path(status.log_path).touch()
        return api.ReopenContainerLogResponse()

    async def UpdateContainerResources(
        self, request: api.UpdateContainerResourcesRequest
    ) -> api.UpdateContainerResourcesResponse:
        self._called("UpdateContainerResources", self.containers[request.container_id].metadata.name)
        self.updates.append(request.linux)
        return api.UpdateContainerResourcesResponse()

    async def ExecSync(self, request: api.ExecSyncRequest) -> api.ExecSyncResponse:
        name = self.containers[request.container_id].metadata.name
        self._called("ExecSync", f"{name} {' '.join(request.cmd)}")
        return api.ExecSyncResponse(exit_code=self.exec_codes.get(" ".join(request.cmd), 0), stdout=b"said")

    async def ListContainers(self, request: api.ListContainersRequest) -> api.ListContainersResponse:
        items = [
            api.Container(
                id=status.id,
                pod_sandbox_id=self.owners[status.id],
                metadata=status.metadata,
                image=status.image,
                image_ref=status.image_ref,
                state=status.state,
                created_at=status.created_at,
                labels=status.labels,
                annotations=status.annotations,
            )
            for status in self.containers.values()
            if request.filter.pod_sandbox_id in ("", self.owners[status.id])
        ]
        return api.ListContainersResponse(containers=items)

    async def ListContainerStats(self, request: api.ListContainerStatsRequest) -> api.ListContainerStatsResponse:
        self._called("ListContainerStats")
        found = api.ListContainerStatsResponse()
        for status in self.containers.values():
            if request.filter.pod_sandbox_id not in ("", self.owners[status.id]):
                continue
            known = api.ContainerAttributes(id=status.id, metadata=status.metadata, labels=status.labels)
            one = found.stats.add(attributes=known)
            one.writable_layer.used_bytes.value = self.layers.get(status.metadata.name, 0)
            one.memory.working_set_bytes.value = self.memory.get(status.metadata.name, 0)
        return found

    async def PullImage(self, request: api.PullImageRequest) -> api.PullImageResponse:
        name = request.image.image
        self._called("PullImage", name)
        if name not in self.registry:
            raise NotFound(f"{name} is not in the registry")
        self.asked_as.append(request.auth.username)
        if request.auth.username != self.credentials.get(name, request.auth.username):
            raise PermissionDenied(f"{name} is not for {request.auth.username!r}")
        return api.PullImageResponse(image_ref=self.add_image(name))

    async def ImageStatus(self, request: api.ImageStatusRequest) -> api.ImageStatusResponse:
        name = request.image.image
        for image in self.images.values():
            if name in (image.id, *image.repo_tags):
                return api.ImageStatusResponse(image=image)
        return api.ImageStatusResponse()

    async def ListImages(self, request: api.ListImagesRequest) -> api.ListImagesResponse:
        return api.ListImagesResponse(images=list(self.images.values()))

    async def RemoveImage(self, request: api.RemoveImageRequest) -> api.RemoveImageResponse:
        self._called("RemoveImage", request.image.image)
        self.images.pop(request.image.image, None)
        return api.RemoveImageResponse()

    def add_image(self, name: str, *, uid: int | None = None) -> str:
        """An image that is there; its id."""
        image = api.Image(id=f"sha256:{name.encode().hex():0>64}", repo_tags=[name], size=1)
        if uid is not None:
            image.uid.value = uid
        self.images[image.id] = image
        return image.id

    def _inside(self, sandbox_id: str) -> list[api.ContainerStatus]:
        return [status for status in self.containers.values() if self.owners[status.id] == sandbox_id]


class Daemon:
    """The process around a runtime: it can go away and come back, its runtime's memory stays."""

    def __init__(self, runtime: MemoryRuntime, path: Path) -> None:
        self._runtime = runtime
        self._path = path
        self._server = Server(60, lambda: "")

    async def start(self) -> None:
        self._server = Server(60, lambda: "")
        served = [("v1", service, self._runtime) for service in ("RuntimeService", "ImageService")]
        await self._server.listen(self._path, served)

    async def stop(self) -> None:
        await self._server.close(0)

    async def until_missed(self) -> None:
        """While it is away: wait until somebody dials, in vain."""
        dialled = asyncio.Event()

        def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            dialled.set()

        async with await asyncio.start_unix_server(refuse, self._path):
            await asyncio.wait_for(dialled.wait(), 20)


@pytest.fixture
def runtime() -> MemoryRuntime:
    """What the engine's calls reach."""
    return MemoryRuntime()


@pytest.fixture
async def daemon(runtime: MemoryRuntime, tmp_path: Path) -> AsyncIterator[Daemon]:
    """Serves the runtime at cri.sock."""
    daemon = Daemon(runtime, tmp_path / "cri.sock")
    await daemon.start()
    yield daemon
    await daemon.stop()


@pytest.fixture
async def client(daemon: Daemon, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of it."""
    async with await Client.connect(f"unix://{tmp_path}/cri.sock") as client:
        yield client


@pytest.fixture
def objects() -> MemoryObjects:
    """What the engine's Pods may use."""
    return MemoryObjects()


@pytest.fixture
async def engine(client: Client, objects: MemoryObjects, tmp_path: Path) -> AsyncIterator[PodEngine]:
    """An engine whose waits are a thousandth of the real ones."""
    back_off = BackOffPolicy(first=0.01, longest=0.3, reset=0.6)
    root = tmp_path / "pods"
    yield PodEngine(
        client, root, log_root=tmp_path / "logs", objects=objects, back_off=back_off, poll=0.01, refresh=0.01
    )
    remove_tree(root)


@pytest.fixture
def make_pod() -> Callable[..., Pod]:
    """``make_pod(spec, containers)``: a Pod called web; without ``containers`` it has one called main."""

    def make(spec: str = "", containers: str = "- {name: main, image: 'busybox:1'}", name: str = "web") -> Pod:
        text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n"
        text += indent(dedent(spec), "  ") + "\n  containers:\n" + indent(dedent(containers), "  ") + "\n"
        (pod,) = parse(text.encode(), "web.yaml").pods
        return pod

    return make
