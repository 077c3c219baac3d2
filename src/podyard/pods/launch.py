"""What starts one Pod's containers in its sandbox: images, volumes, files, then the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from podyard.client import Client
from podyard.cri import api
from podyard.errors import DeadlineExceeded, FailedPrecondition, NotFound, PodyardError, Unimplemented
from podyard.manifest.model import Container, LifecycleHandler, Pod, VolumeMount
from podyard.manifest.translate import (
    HostFacts,
    ImageFacts,
    ResolvedMount,
    check_non_root,
    container_config,
    environment,
    hosts_file,
    labels,
    sandbox_config,
)
from podyard.pods import volumes
from podyard.pods.actions import Actions
from podyard.pods.board import Board
from podyard.pods.folders import PodFolder
from podyard.pods.steps import Steps
from podyard.pods.stopping import stop_container

HOOK_LIMIT = 3600
"""Seconds for a postStart hook: a bound for what a kubelet waits for without one."""
VOLUME_LIMIT = 120.0
"""Seconds for the host side of volumes: a hung network file system must not hang more than this."""


T = TypeVar("T")


class Launcher:
    """Makes the sandbox and starts containers of a Pod (which has its uid)."""

    def __init__(
        self,
        client: Client,
        pod: Pod,
        folder: PodFolder,
        host: HostFacts,
        steps: Steps,
        *,
        board: Board | None = None,
    ) -> None:
        self.pod = pod
        self.folder = folder
        self.board = board or Board()
        self._client = client
        self._host = host
        self._steps = steps
        self._images: dict[str, ImageFacts] = {}
        self._sandbox = sandbox_config(pod, host, log_directory=str(folder.logs))
        self._recursive_read_only: bool | None = None
        self.sandbox_id = ""
        self.ips: tuple[str, ...] = ()

    async def fetch_images(self) -> None:
        """See that all images are there, side by side.

        Raises NotFound for a missing image that must not be pulled, InvalidArgument where one would run as root and
        must not, and what pulling raises.
        """
        containers = list(self.pod.all_containers())
        # Of two policies for one image the one that asks the registry wins.
        by_image = {container.image: container for container in containers}
        by_image |= {container.image: container for container in containers if container.pull_policy == "Always"}
        results = await asyncio.gather(
            *(self._fetch(container) for container in by_image.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        for container in containers:
            check_non_root(self.pod, container, self._images[container.image])

    async def prepare_volumes(self) -> None:
        """Make the Pod's directories and volumes."""
        await _in_thread(volumes.prepare, self.pod, self.folder)

    async def run_sandbox(self) -> None:
        """Make the log directory and the sandbox."""
        await _in_thread(_make_log_folder, self.folder)
        sandbox_id = await self._client.runtime.run_pod_sandbox(self._sandbox, self.pod.spec.runtime_class_name)
        await self.adopt(sandbox_id)

    async def adopt(self, sandbox_id: str) -> None:
        """Use this sandbox, and write the Pod's /etc/hosts with its addresses."""
        status = (await self._client.runtime.pod_sandbox_status(sandbox_id)).status
        addresses = [status.network.ip, *(more.ip for more in status.network.additional_ips)]
        self.ips = tuple(address for address in addresses if address)
        if self.pod.spec.host_network and not self.ips:
            self.ips = self._host.ips  # some endpoints tell no address for the host's network
        self.sandbox_id = sandbox_id
        text = hosts_file(self.pod, self._host, self.ips)
        await _in_thread(_write_hosts, self.folder, text)

    async def launch(self, container: Container, attempt: int) -> str:
        """Make and start one attempt at a container, and run its postStart hook; its id.

        A container whose hook fails is stopped again.
        """
        name, reason = container.name, self.board.reason
        if container.image not in self._images:
            with reason(name, "ErrImageNeverPull" if container.pull_policy == "Never" else "ErrImagePull"):
                await self._fetch(container)
        with reason(name, "CreateContainerConfigError"):
            check_non_root(self.pod, container, self._images[container.image])
        with reason(name, "CreateContainerError"), self._steps.step("creating the container", name) as note:
            container_id = await self._create(container, attempt)
            note.detail = container_id[:12]
        with reason(name, "RunContainerError"), self._steps.step("starting the container", name):
            await self._client.runtime.start_container(container_id)
        if container.lifecycle.post_start is not None:
            with reason(name, "PostStartHookError"), self._steps.step("running the postStart hook of", name):
                await self._post_start(container, container.lifecycle.post_start, container_id)
        self.board.runs(name)
        return container_id

    async def stop(self, container: Container, container_id: str, grace: int) -> None:
        """Stop a container that runs, its preStop hook first. ``grace``: seconds."""
        hook = container.lifecycle.pre_stop
        if hook is not None:
            hook = labels.with_port_number(container, hook)
        await stop_container(
            self._client, container_id, container.name, grace, hook=hook, ips=self.ips, steps=self._steps
        )

    async def _post_start(self, container: Container, hook: LifecycleHandler, container_id: str) -> None:
        (action,) = hook.actions
        try:
            failure = await Actions(self._client, self.ips).perform(action, container_id, container, HOOK_LIMIT)
        except PodyardError as error:
            failure = str(error)
        if failure:
            await self.stop(container, container_id, self.pod.spec.termination_grace_period_seconds)
            raise FailedPrecondition(f"the hook failed and the container was stopped: {failure}")

    def forget_image(self, container: Container) -> None:
        """Look at the container's image again before it is started the next time, as its pull policy says."""
        self._images.pop(container.image, None)

    async def _fetch(self, container: Container) -> None:
        image = container.image
        if container.pull_policy != "Always":
            found = (await self._client.images.image_status(image)).image
            if found.id:
                self._images[image] = _facts(found)
                return
            if container.pull_policy == "Never":
                raise NotFound(
                    f"the image {image} is not there and imagePullPolicy is Never: load it, or let it be pulled"
                )
        with self._steps.step("pulling the image", image) as note:
            pulled = await self._client.images.pull_image(api.ImageSpec(image=image), sandbox_config=self._sandbox)
            found = (await self._client.images.image_status(pulled)).image
            if not found.id:
                raise NotFound(f"the endpoint pulled {image} as {pulled}, but does not know that image")
            note.detail = found.id
        self._images[image] = _facts(found)

    async def _create(self, container: Container, attempt: int) -> str:
        variables = environment(self.pod, container, self._host, self.ips)
        mounts = []
        for index, mount in enumerate(container.volume_mounts):
            recursive = await self._is_recursive(mount)
            host_path = await _in_thread(
                volumes.source, self.pod, self.folder, container, attempt=attempt, index=index, variables=variables
            )
            mounts.append(ResolvedMount(mount=mount, host_path=str(host_path), recursive_read_only=recursive))
        last_words = self.folder.termination_message(container.name, attempt)
        await _in_thread(_make_container_files, self.folder, container.name, attempt)
        config = container_config(
            self.pod,
            container,
            self._images[container.image],
            self._host,
            attempt=attempt,
            variables=variables,
            volumes=mounts,
            files={"/etc/hosts": str(self.folder.hosts), container.termination_message_path: str(last_words)},
        )
        return await self._client.runtime.create_container(self.sandbox_id, config, self._sandbox)

    async def _is_recursive(self, mount: VolumeMount) -> bool:
        """Whether the mount is to be recursively read-only. Raises Unimplemented where it must be and cannot."""
        if mount.recursive_read_only == "Disabled":
            return False
        if self._recursive_read_only is None:
            handlers = (await self._client.runtime.status()).runtime_handlers
            mine = [handler for handler in handlers if handler.name == self.pod.spec.runtime_class_name]
            self._recursive_read_only = any(handler.features.recursive_read_only_mounts for handler in mine)
        if not self._recursive_read_only and mount.recursive_read_only == "Enabled":
            text = "the endpoint cannot mount recursively read-only; use IfPossible or Disabled"
            raise Unimplemented(f"the volume {mount.name!r} has recursiveReadOnly Enabled, but {text}")
        return self._recursive_read_only


async def _in_thread(function: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """Run what may block. Raises DeadlineExceeded after ``VOLUME_LIMIT`` seconds; a hung thread is left behind."""
    try:
        async with asyncio.timeout(VOLUME_LIMIT):
            return await asyncio.to_thread(function, *arguments, **more)
    except TimeoutError as error:
        text = f"the file system below the Pod's volumes did not answer within {VOLUME_LIMIT:.0f} s"
        raise DeadlineExceeded(text) from error


def _facts(image: api.Image) -> ImageFacts:
    return ImageFacts(id=image.id, uid=image.uid.value if image.HasField("uid") else None, username=image.username)


def _make_log_folder(folder: PodFolder) -> None:
    folder.logs.mkdir(mode=0o755, parents=True, exist_ok=True)


def _write_hosts(folder: PodFolder, text: str) -> None:
    """In place: containers have this very file mounted."""
    folder.hosts.write_text(text, encoding="utf-8")
    folder.hosts.chmod(0o644)


def _make_container_files(folder: PodFolder, name: str, attempt: int) -> None:
    (folder.logs / name).mkdir(mode=0o755, exist_ok=True)
    path = folder.termination_message(name, attempt)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)  # whatever user the container runs as may write it
