"""What the cases of one run share: the endpoint, the images, one sandbox, and what must be taken away at the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.images import Images
from podyard.validate.registry import Registry, serving
from podyard.validate.requests import pod_security

Made = TypeVar("Made")

__all__ = ["CASE", "RUN", "Session", "Target", "opened"]

RUN = "validate.podyard.dev/run"
CASE = "validate.podyard.dev/case"
"""Labels of all that the suite makes."""

IDLE = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]
"""A process that does nothing and ends when it is asked to."""


MAKING = 20.0
"""Seconds at the end of a run for calls that still make something."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is validated, and how."""

    runtime_endpoint: str
    image_endpoint: str | None = None
    handler: str = ""
    """The runtime handler of all sandboxes."""
    strict: bool = False
    """Ask for what podyard promises, too, where the protocol leaves a choice."""
    registry_listen: str = "127.0.0.1:0"
    timeout: float = 5.0
    """Seconds for connecting."""


class Session:
    """One run against one endpoint. Made by ``opened``."""

    def __init__(self, target: Target, client: Client, images: Images, folder: Path) -> None:
        self.target = target
        self.client = client
        self.images = images
        self.folder = folder
        self.id = uuid.uuid4().hex[:8]
        self.status = api.StatusResponse()
        self.configs: dict[str, api.PodSandboxConfig] = {}
        """Each sandbox's request, by its id."""
        self.numbers = itertools.count(1)
        self._shared: dict[str, asyncio.Task[Any]] = {}
        self._making: set[asyncio.Task[str]] = set()

    @property
    def registry(self) -> Registry:
        """Where the images come from."""
        return self.images.registry

    async def begin(self) -> None:
        """Learn what the endpoint says of itself."""
        self.status = await self.client.runtime.status()

    async def image(self, name: str) -> str:
        """The reference of a shared image, pulled once in a run."""
        reference = await asyncio.to_thread(self.images.named, name)
        await self.once(f"image {name}", lambda: self.client.images.pull_image(reference))
        return reference

    async def pod(self) -> str:
        """The id of a sandbox that cases share which do nothing to it."""
        return await self.once("sandbox", self._make_pod)

    async def idle(self) -> str:
        """The id of a running container that cases share which do nothing to it."""
        return await self.once("container", self._make_idle)

    def metadata(self, name: str = "") -> api.PodSandboxMetadata:
        """What no other sandbox has."""
        name = name or f"validate-{self.id}-{next(self.numbers)}"
        return api.PodSandboxMetadata(name=name, namespace="validate", uid=f"uid-{name}", attempt=0)

    async def making(self, call: Coroutine[Any, Any, str]) -> str:
        """The result of a call that makes something. It goes on when its case is over, so that ``end`` finds it all."""
        task = asyncio.create_task(call)
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        return await asyncio.shield(task)

    async def remove(self, labels: dict[str, str]) -> list[str]:
        """Remove the sandboxes and containers that have these labels; what could not be removed, and why."""
        runtime = self.client.runtime
        problems: list[str] = []
        for container in await runtime.list_containers(api.ContainerFilter(label_selector=labels)):
            if labels.items() <= dict(container.labels).items():
                problems += await _tried(f"container {container.id[:12]}", runtime.remove_container(container.id))
        for sandbox in await runtime.list_pod_sandbox(api.PodSandboxFilter(label_selector=labels)):
            if labels.items() <= dict(sandbox.labels).items():
                problems += await _tried(f"sandbox {sandbox.id[:12]}", runtime.stop_pod_sandbox(sandbox.id))
                problems += await _tried(f"sandbox {sandbox.id[:12]}", runtime.remove_pod_sandbox(sandbox.id))
        return problems

    async def end(self) -> list[str]:
        """Remove all that the run has made; what could not be removed, and why."""
        for task in self._shared.values():
            task.cancel()
        await asyncio.gather(*self._shared.values(), return_exceptions=True)
        problems = await self._await_making()
        problems += await self.remove({RUN: self.id})
        ours = f"{self.registry.address}/"
        for image in await self.client.images.list_images():
            names = [*image.repo_tags, *image.repo_digests]
            if names and all(name.startswith(ours) for name in names):
                problems += await _tried(f"image {names[0]}", self.client.images.remove_image(image.id))
        return problems

    async def _await_making(self) -> list[str]:
        """Wait for the calls that still make something, a while: one that hangs must not keep the rest from going."""
        if not self._making:
            return []
        _, hanging = await asyncio.wait(self._making, timeout=MAKING)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return [f"what {len(hanging)} calls make that had no answer {MAKING:g} s after the end"] if hanging else []

    async def once(self, key: str, make: Callable[[], Coroutine[Any, Any, Made]]) -> Made:
        """The result of ``make``, which runs once: whoever else asks meanwhile waits for it."""
        task = self._shared.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(make())
            self._shared[key] = task
        # A case that is over its time must not take the others' sandbox with it.
        made: Made = await asyncio.shield(task)
        return made

    async def _make_pod(self) -> str:
        metadata = self.metadata()
        config = api.PodSandboxConfig(
            metadata=metadata,
            hostname="shared",
            log_directory=str(self.folder / "logs" / metadata.name),
            labels={RUN: self.id},
            linux=pod_security(namespace_options=api.NamespaceOption(pid=api.CONTAINER)),
        )
        sandbox_id = await self.making(self.client.runtime.run_pod_sandbox(config, self.target.handler))
        self.configs[sandbox_id] = config
        return sandbox_id

    async def _make_idle(self) -> str:
        sandbox_id = await self.pod()
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name="idle"),
            image=api.ImageSpec(image=await self.image("busybox")),
            command=IDLE,
            log_path="idle.log",
            labels={RUN: self.id},
            linux=api.LinuxContainerConfig(
                security_context=api.LinuxContainerSecurityContext(
                    namespace_options=api.NamespaceOption(pid=api.CONTAINER)
                )
            ),
        )
        runtime = self.client.runtime
        container_id = await self.making(runtime.create_container(sandbox_id, config, self.configs[sandbox_id]))
        await runtime.start_container(container_id)
        return container_id


@contextlib.asynccontextmanager
async def opened(target: Target) -> AsyncIterator[Session]:
    """A session with the endpoint, its registry and its folder.

    Raises EndpointError when no runtime is usable there, FailedPrecondition when the images cannot be made or the
    registry cannot listen. What the run has made is taken away by ``Session.end``.
    """
    folder = Path(tempfile.mkdtemp(prefix="podyard-validate-"))
    folder.chmod(0o755)
    try:
        with serving(target.registry_listen) as registry:
            images = await asyncio.to_thread(Images, folder / "images", registry)
            async with await Client.connect(
                target.runtime_endpoint, target.image_endpoint, timeout=target.timeout
            ) as client:
                session = Session(target, client, images, folder)
                await session.begin()
                yield session
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _tried(what: str, call: Awaitable[object]) -> list[str]:
    try:
        await call
    except PodyardError as error:
        return [f"{what}: {error.status}: {error}"]
    return []
