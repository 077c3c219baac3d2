"""A CRI runtime in memory, on a real socket: for tests of what stands before a runtime, without containers.

What is asked of it is recorded in ``calls``; a failure is injected through ``fail``.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from podyard.cri import admin, api, services


class FakeRuntime:
    """The calls, named as the protocol names them. ``behaviour``: how a container that is started ends, by its name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fail: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.sandboxes: dict[str, api.PodSandboxStatus] = {}
        self.sandbox_configs: dict[str, api.PodSandboxConfig] = {}
        self.containers: dict[str, api.ContainerStatus] = {}
        self.owners: dict[str, str] = {}
        self.images: dict[str, api.Image] = {}
        self.container_stats: list[api.ContainerStats] = []
        self.sandbox_stats: list[api.PodSandboxStats] = []
        self.events: list[api.ContainerEventResponse] = []
        """What happens to whoever asks; the stream ends then."""
        self.pulls: list[list[admin.Pull]] = []
        self.pull_gate = threading.Event()
        self.pull_gate.set()
        self.behaviour: dict[str, Callable[[api.ContainerStatus], None]] = {}
        self.answers: dict[str, Callable[[Any], Any]] = {}
        """Calls that a test answers itself."""
        self.exec: Callable[[api.ExecSyncRequest], api.ExecSyncResponse] = lambda request: api.ExecSyncResponse()
        self._numbers = itertools.count(1)
        self._clock = itertools.count(time.time_ns() - 192_000_000_000)

    def called(self, name: str) -> list[Any]:
        """The requests of one call, in their order."""
        return [request for called, request in self.calls if called == name]

    def new_id(self) -> str:
        """An id whose beginning tells it from all others."""
        return f"{next(self._numbers):04x}".ljust(64, "a")

    # --- what tests put there

    def add_sandbox(self, name: str, namespace: str = "default", *, ready: bool = True, ip: str = "10.0.0.7") -> str:
        """A sandbox that is there."""
        labels = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": f"uid-{name}",
        }
        metadata = api.PodSandboxMetadata(name=name, namespace=namespace, uid=f"uid-{name}")
        config = api.PodSandboxConfig(metadata=metadata, labels=labels)
        return self._sandbox(config, ready=ready, ip=ip)

    def add_container(
        self,
        sandbox: str,
        name: str,
        *,
        state: api.ContainerState.ValueType = api.CONTAINER_RUNNING,
        exit_code: int = 0,
        reason: str = "",
        attempt: int = 0,
        log_path: str = "",
    ) -> str:
        """A container that is there."""
        container_id = self.new_id()
        owner = self.sandboxes[sandbox]
        self.owners[container_id] = sandbox
        self.containers[container_id] = api.ContainerStatus(
            id=container_id,
            metadata=api.ContainerMetadata(name=name, attempt=attempt),
            state=state,
            created_at=next(self._clock),
            started_at=next(self._clock),
            finished_at=next(self._clock) if state == api.CONTAINER_EXITED else 0,
            exit_code=exit_code,
            reason=reason or ("" if state != api.CONTAINER_EXITED else "Error" if exit_code else "Completed"),
            image=api.ImageSpec(image="busybox:latest"),
            image_ref="busybox@sha256:" + "0" * 64,
            image_id="sha256:" + "1" * 64,
            labels={**owner.labels, "io.kubernetes.container.name": name},
            log_path=log_path,
        )
        return container_id

    def add_image(self, *tags: str, size: int = 12_345_678, digit: str = "1") -> str:
        """An image that is there."""
        image_id = "sha256:" + digit * 64
        self.images[image_id] = api.Image(
            id=image_id, repo_tags=tags, repo_digests=["docker.io/library/busybox@sha256:" + "2" * 64], size=size
        )
        return image_id

    def write_log(self, container_id: str, *lines: str, stream: str = "stdout") -> None:
        """Append lines to a container's log, in the CRI's format."""
        path = Path(self.containers[container_id].log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            for line in lines:
                file.write(f"2026-01-02T03:04:05.{next(self._numbers):09d}Z {stream} F {line}\n")

    def end(self, container_id: str, exit_code: int) -> None:
        """The container's process ends."""
        container = self.containers[container_id]
        container.state = api.CONTAINER_EXITED
        container.exit_code = exit_code
        container.reason = "Error" if exit_code else "Completed"
        container.finished_at = time.time_ns()

    def _sandbox(self, config: api.PodSandboxConfig, *, ready: bool, ip: str) -> str:
        sandbox_id = self.new_id()
        self.sandbox_configs[sandbox_id] = config
        self.sandboxes[sandbox_id] = api.PodSandboxStatus(
            id=sandbox_id,
            metadata=config.metadata,
            state=api.SANDBOX_READY if ready else api.SANDBOX_NOTREADY,
            created_at=next(self._clock),
            network=api.PodSandboxNetworkStatus(ip=ip),
            labels=config.labels,
            annotations=config.annotations,
        )
        return sandbox_id

    # --- the RuntimeService

    def Version(self, request: api.VersionRequest) -> api.VersionResponse:
        return api.VersionResponse(
            version="0.1.0", runtime_name="fake", runtime_version="7.8.9", runtime_api_version="v1"
        )

    def Status(self, request: api.StatusRequest) -> api.StatusResponse:
        return api.StatusResponse(
            status=api.RuntimeStatus(
                conditions=[
                    api.RuntimeCondition(type="RuntimeReady", status=True),
                    api.RuntimeCondition(
                        type="NetworkReady", status=False, reason="NetworkPluginNotReady", message="no CNI"
                    ),
                ]
            ),
            runtime_handlers=[
                api.RuntimeHandler(name="", features=api.RuntimeHandlerFeatures(recursive_read_only_mounts=True))
            ],
            info={"config": '{"answer": 42}', "plain": "not json"} if request.verbose else {},
        )

    def RuntimeConfig(self, request: api.RuntimeConfigRequest) -> api.RuntimeConfigResponse:
        return api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=api.CGROUPFS))

    def RunPodSandbox(self, request: api.RunPodSandboxRequest) -> api.RunPodSandboxResponse:
        return api.RunPodSandboxResponse(pod_sandbox_id=self._sandbox(request.config, ready=True, ip="10.0.0.8"))

    def StopPodSandbox(self, request: api.StopPodSandboxRequest) -> api.StopPodSandboxResponse:
        sandbox = self.sandboxes.get(request.pod_sandbox_id)
        if sandbox is not None:
            sandbox.state = api.SANDBOX_NOTREADY
            for container_id, owner in self.owners.items():
                if owner == sandbox.id and self.containers[container_id].state == api.CONTAINER_RUNNING:
                    self.end(container_id, 137)
        return api.StopPodSandboxResponse()

    def RemovePodSandbox(self, request: api.RemovePodSandboxRequest) -> api.RemovePodSandboxResponse:
        self.sandboxes.pop(request.pod_sandbox_id, None)
        for container_id, owner in list(self.owners.items()):
            if owner == request.pod_sandbox_id:
                self.containers.pop(container_id, None)
                self.owners.pop(container_id, None)
        return api.RemovePodSandboxResponse()

    def PodSandboxStatus(self, request: api.PodSandboxStatusRequest) -> api.PodSandboxStatusResponse:
        if request.pod_sandbox_id not in self.sandboxes:
            raise KeyError(request.pod_sandbox_id)
        info = {"info": '{"pid": 4711}'} if request.verbose else {}
        return api.PodSandboxStatusResponse(status=self.sandboxes[request.pod_sandbox_id], info=info)

    def ListPodSandbox(self, request: api.ListPodSandboxRequest) -> api.ListPodSandboxResponse:
        wanted = request.filter.label_selector.items()
        return api.ListPodSandboxResponse(
            items=[
                api.PodSandbox(
                    id=one.id,
                    metadata=one.metadata,
                    state=one.state,
                    created_at=one.created_at,
                    labels=one.labels,
                    annotations=one.annotations,
                )
                for one in self.sandboxes.values()
                if one.id.startswith(request.filter.id) and all(one.labels.get(key) == value for key, value in wanted)
            ]
        )

    def CreateContainer(self, request: api.CreateContainerRequest) -> api.CreateContainerResponse:
        config = request.config
        container_id = self.new_id()
        folder = self.sandbox_configs[request.pod_sandbox_id].log_directory
        self.owners[container_id] = request.pod_sandbox_id
        self.containers[container_id] = api.ContainerStatus(
            id=container_id,
            metadata=config.metadata,
            state=api.CONTAINER_CREATED,
            created_at=next(self._clock),
            image=config.image,
            image_ref=config.image.image,
            image_id=config.image.image,
            labels=config.labels,
            annotations=config.annotations,
            log_path=str(Path(folder) / config.log_path),
        )
        return api.CreateContainerResponse(container_id=container_id)

    def StartContainer(self, request: api.StartContainerRequest) -> api.StartContainerResponse:
        container = self.containers[request.container_id]
        container.state = api.CONTAINER_RUNNING
        container.started_at = time.time_ns()
        self.write_log(container.id, f"{container.metadata.name} attempt {container.metadata.attempt} started")
        if container.metadata.name in self.behaviour:
            self.behaviour[container.metadata.name](container)
        return api.StartContainerResponse()

    def StopContainer(self, request: api.StopContainerRequest) -> api.StopContainerResponse:
        if request.container_id in self.containers:
            self.end(request.container_id, 137)
        return api.StopContainerResponse()

    def RemoveContainer(self, request: api.RemoveContainerRequest) -> api.RemoveContainerResponse:
        self.containers.pop(request.container_id, None)
        self.owners.pop(request.container_id, None)
        return api.RemoveContainerResponse()

    def ContainerStatus(self, request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
        if request.container_id not in self.containers:
            raise KeyError(request.container_id)
        info = {"info": '{"pid": 4712}'} if request.verbose else {}
        return api.ContainerStatusResponse(status=self.containers[request.container_id], info=info)

    def ListContainers(self, request: api.ListContainersRequest) -> api.ListContainersResponse:
        wanted = request.filter.label_selector.items()
        return api.ListContainersResponse(
            containers=[
                api.Container(
                    id=one.id,
                    pod_sandbox_id=self.owners[one.id],
                    metadata=one.metadata,
                    image=one.image,
                    image_ref=one.image_ref,
                    image_id=one.image_id,
                    state=one.state,
                    created_at=one.created_at,
                    labels=one.labels,
                    annotations=one.annotations,
                )
                for one in list(self.containers.values())
                if one.id.startswith(request.filter.id)
                and self.owners[one.id].startswith(request.filter.pod_sandbox_id)
                and all(one.labels.get(key) == value for key, value in wanted)
            ]
        )

    def UpdateContainerResources(
        self, request: api.UpdateContainerResourcesRequest
    ) -> api.UpdateContainerResourcesResponse:
        self.containers[request.container_id].resources.linux.MergeFrom(request.linux)
        return api.UpdateContainerResourcesResponse()

    def GetContainerEvents(self, request: api.GetEventsRequest) -> Iterator[api.ContainerEventResponse]:
        return iter(self.events)

    def ExecSync(self, request: api.ExecSyncRequest) -> api.ExecSyncResponse:
        return self.exec(request)

    def ListContainerStats(self, request: api.ListContainerStatsRequest) -> api.ListContainerStatsResponse:
        return api.ListContainerStatsResponse(stats=self.container_stats)

    def ListPodSandboxStats(self, request: api.ListPodSandboxStatsRequest) -> api.ListPodSandboxStatsResponse:
        return api.ListPodSandboxStatsResponse(stats=self.sandbox_stats)

    # --- the ImageService

    def PullImage(self, request: api.PullImageRequest) -> api.PullImageResponse:
        assert self.pull_gate.wait(30), "the test never let the pull end"
        return api.PullImageResponse(image_ref=self.add_image(request.image.image))

    def ListImages(self, request: api.ListImagesRequest) -> api.ListImagesResponse:
        return api.ListImagesResponse(images=self.images.values())

    def ImageStatus(self, request: api.ImageStatusRequest) -> api.ImageStatusResponse:
        name = request.image.image
        for image in self.images.values():
            if name == image.id or name in image.repo_tags:
                info = {"info": '{"chainID": "sha256:77"}'} if request.verbose else {}
                return api.ImageStatusResponse(image=image, info=info)
        return api.ImageStatusResponse()

    def RemoveImage(self, request: api.RemoveImageRequest) -> api.RemoveImageResponse:
        name = request.image.image
        for image_id, image in list(self.images.items()):
            if name == image_id or name in image.repo_tags:
                del self.images[image_id]
        return api.RemoveImageResponse()

    def ImageFsInfo(self, request: api.ImageFsInfoRequest) -> api.ImageFsInfoResponse:
        usage = api.FilesystemUsage(
            timestamp=1,
            fs_id=api.FilesystemIdentifier(mountpoint="/var/lib/fake"),
            used_bytes=api.UInt64Value(value=45_600_000),
            inodes_used=api.UInt64Value(value=77),
        )
        return api.ImageFsInfoResponse(image_filesystems=[usage])

    # --- podyard's own

    def LoadImages(self, request: admin.LoadImagesRequest) -> admin.LoadImagesResponse:
        return admin.LoadImagesResponse(
            images=[admin.LoadedImage(id="sha256:" + "5" * 64, repo_tags=["example:1"], size=4_200_000)]
        )

    def ListPulls(self, request: admin.ListPullsRequest) -> admin.ListPullsResponse:
        """The next of ``pulls``; the last one lets the pull go on."""
        if not self.pulls:
            return admin.ListPullsResponse()
        found = self.pulls.pop(0)
        if not self.pulls:
            self.pull_gate.set()
        return admin.ListPullsResponse(pulls=found)


class FakeServer:
    """Serves a FakeRuntime on a unix socket, until ``stop``. ``with_admin``: whether podyard's own service is there."""

    def __init__(self, path: Path, runtime: FakeRuntime, *, with_admin: bool = True) -> None:
        self.runtime = runtime
        self.endpoint = f"unix://{path}"
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        served = [("v1", "RuntimeService"), ("v1", "ImageService"), *([("admin", "Admin")] if with_admin else [])]
        for version, service in served:
            handlers = {
                method.name: (
                    grpc.unary_stream_rpc_method_handler
                    if method.server_streaming
                    else grpc.unary_unary_rpc_method_handler
                )(
                    self._wrap(method.name, getattr(runtime, method.name, None)),
                    request_deserializer=method.request.FromString,
                    response_serializer=method.response.SerializeToString,
                )
                for method in services.METHODS[service]
            }
            name = services.service_name(version, service)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        self._server.add_insecure_port(self.endpoint)
        self._server.start()

    def stop(self) -> None:
        """End it at once."""
        self._server.stop(None).wait()

    def _wrap(self, name: str, call: Callable[[Any], Any] | None) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            self.runtime.calls.append((name, request))
            if name in self.runtime.fail:
                context.abort(*self.runtime.fail[name])
            answer = self.runtime.answers.get(name, call)
            if answer is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            try:
                return answer(request)
            except KeyError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {error.args[0]}")

        return handle
