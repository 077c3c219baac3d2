"""What a case works with: sandboxes and containers, short to ask for, and removed when the case is over."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from podyard.client import Client
from podyard.cri import api
from podyard.errors import (
    Cancelled,
    DeadlineExceeded,
    EndpointError,
    PodyardError,
    RegistryUnavailable,
    Unavailable,
    Unimplemented,
)
from podyard.validate.expect import Unmet, equal, skip
from podyard.validate.logs import Line, is_written, joined, read_log
from podyard.validate.session import CASE, IDLE, RUN, Session

__all__ = ["IDLE", "NOBODY", "Kit", "until"]

NOBODY = "0" * 64
"""An id that nothing has."""

WAIT_LIMIT = 30.0
"""Seconds until something must have happened that is under way."""


class Kit:
    """One case's. Requests get defaults that a kubelet would send, and labels by which they are removed."""

    def __init__(self, session: Session, owner: str) -> None:
        self.session = session
        self.client: Client = session.client
        self.runtime = session.client.runtime
        self.images = session.client.images
        self.labels = {RUN: session.id, CASE: owner}
        self._folder = session.folder / f"case-{owner}"
        self._pulled: set[str] = set()
        self._clients: list[Client] = []

    @property
    def folder(self) -> Path:
        """A directory of the host that is the case's alone."""
        self._folder.mkdir(exist_ok=True)
        return self._folder

    @property
    def strict(self) -> bool:
        """Whether podyard's own promises are asked for where the protocol leaves a choice."""
        return self.session.target.strict

    def lasting(self) -> Kit:
        """A kit whose sandboxes and containers stay until the run's end, for ``Session.once``."""
        return Kit(self.session, "run")

    # --- sandboxes

    def sandbox_config(self, **fields: Any) -> api.PodSandboxConfig:
        """A sandbox's request; ``fields`` stand beside or in place of the defaults."""
        metadata = self.session.metadata()
        defaults: dict[str, Any] = {
            "metadata": metadata,
            "hostname": metadata.name,
            "log_directory": str(self.session.folder / "logs" / metadata.name),
            "linux": api.LinuxPodSandboxConfig(),
        }
        config = api.PodSandboxConfig(**{**defaults, **fields})
        config.labels.update(self.labels)
        _own_pids(config.linux.security_context)
        return config

    async def sandbox(self, config: api.PodSandboxConfig | None = None, **fields: Any) -> str:
        """Run a sandbox; its id."""
        config = config or self.sandbox_config(**fields)
        call = self.runtime.run_pod_sandbox(config, self.session.target.handler)
        sandbox_id = await self.session.making(call)
        self.session.configs[sandbox_id] = config
        return sandbox_id

    async def pod_status(self, sandbox_id: str) -> api.PodSandboxStatus:
        """A sandbox's status."""
        return (await self.runtime.pod_sandbox_status(sandbox_id)).status

    async def shared(self) -> str:
        """A sandbox that other cases use at the same time."""
        return await self.session.pod()

    # --- containers

    async def container_config(self, command: Sequence[str] = (), **fields: Any) -> api.ContainerConfig:
        """A container's request; ``fields`` stand beside or in place of the defaults. ``image`` may be a reference."""
        name = f"c{next(self.session.numbers)}"
        image = fields.pop("image", None) or await self.session.image("busybox")
        defaults: dict[str, Any] = {
            "metadata": api.ContainerMetadata(name=name, attempt=0),
            "image": image if isinstance(image, api.ImageSpec) else api.ImageSpec(image=image),
            "command": list(command),
            "log_path": f"{name}.log",
            "linux": api.LinuxContainerConfig(),
        }
        config = api.ContainerConfig(**{**defaults, **fields})
        config.labels.update(self.labels)
        _own_pids(config.linux.security_context)
        return config

    async def create(self, command: Sequence[str] = (), sandbox: str = "", **fields: Any) -> str:
        """Create a container, in the shared sandbox by default; its id."""
        sandbox = sandbox or await self.shared()
        config = await self.container_config(command, **fields)
        return await self.create_from(config, sandbox)

    async def create_from(self, config: api.ContainerConfig, sandbox: str = "") -> str:
        """Create the container of a request; its id."""
        sandbox = sandbox or await self.shared()
        about = self.session.configs.get(sandbox) or self.sandbox_config()
        return await self.session.making(self.runtime.create_container(sandbox, config, about))

    async def start(self, command: Sequence[str] = (), sandbox: str = "", **fields: Any) -> str:
        """Create and start a container; its id."""
        container_id = await self.create(command, sandbox, **fields)
        await self.runtime.start_container(container_id)
        return container_id

    async def idle(self, sandbox: str = "", **fields: Any) -> str:
        """Start a container of the case's own that does nothing and ends on SIGTERM; its id."""
        return await self.start(IDLE, sandbox, **fields)

    async def shell(self, script: str, sandbox: str = "", **fields: Any) -> str:
        """Run a script in a container of its own to its end; what it wrote. Its exit code must be 0."""
        status = await self.ended(await self.start(["sh", "-c", script], sandbox, **fields))
        output = self.output(status)
        if status.exit_code != 0:
            raise Unmet(f"exit code 0 of: {script}", f"{status.exit_code} ({status.reason} {status.message}): {output}")
        return output

    async def status(self, container_id: str) -> api.ContainerStatus:
        """A container's status."""
        return (await self.runtime.container_status(container_id)).status

    async def exited(self, container_id: str) -> api.ContainerStatus:
        """Wait until a container has exited; its status."""
        return await self._reaches(container_id, api.CONTAINER_EXITED)

    async def ended(self, container_id: str) -> api.ContainerStatus:
        """Wait until a container has exited and its log is closed; its status."""
        status = await self.exited(container_id)
        log = Path(status.log_path)
        await until(lambda: not is_written(log), f"{log} closed", lambda: "it is open for writing")
        return status

    async def exec(self, container_id: str, *command: str, timeout: int = 20) -> str:
        """Run a command in a container; what it wrote. Its exit code must be 0."""
        result = await self.runtime.exec_sync(container_id, list(command), timeout)
        equal(result.exit_code, 0, f"exit code of {' '.join(command)} (stderr: {result.stderr!r})")
        return result.stdout.decode(errors="replace")

    async def look(self, script: str) -> str:
        """Run a script in a container with the defaults of all things, which other cases use too."""
        return await self.exec(await self.session.idle(), "sh", "-c", script)

    async def says(self, container_id: str, text: str) -> api.ContainerStatus:
        """Wait until a container's log holds a text; its status then."""
        status = await self.status(container_id)
        await until(lambda: text in self.output(status), f"{text!r} in the log", lambda: self.output(status))
        return status

    async def process(self, container_id: str) -> Path:
        """The folder in /proc of a container's first process, as its details tell it.

        StartContainer may answer before the OCI runtime's init has executed the command, so a case that looks at the
        process from outside makes the command say something first (``says``).
        """
        answer = await self.runtime.container_status(container_id, verbose=True)
        return Path(f"/proc/{json.loads(answer.info['info'])['pid']}")

    # --- logs

    def output(self, status: api.ContainerStatus) -> str:
        """What a container has written so far, both streams, without the log's own fields."""
        return joined(self.lines(status))

    def lines(self, status: api.ContainerStatus) -> list[Line]:
        """The entries of a container's log."""
        path = Path(status.log_path)
        return read_log(path) if path.exists() else []

    # --- images

    async def image(self, name: str) -> str:
        """The reference of one of the suite's images, which is there."""
        return await self.session.image(name)

    async def pull(self, image: str | api.ImageSpec, **more: Any) -> str:
        """Pull an image that is removed when the case is over; what PullImage returned."""
        self._pulled.add(image if isinstance(image, str) else image.image)
        return await self.images.pull_image(image, **more)

    # --- the rest

    async def refused(
        self, call: Awaitable[object], code: type[PodyardError], says: str = "", *, fixed: bool = False
    ) -> PodyardError:
        """A call must fail; its error.

        ``code``: how it should. ``fixed``: clients depend on the code, so no other will do; otherwise only a strict run
        asks for it. ``says``: what the text must name in a strict run. Raises Unmet, also for errors that tell of no
        decision: a runtime that went down over a request, or hangs, has not refused it.
        """
        wanted = f"an error {code.status if fixed or self.strict else ''}".rstrip()
        try:
            result = await call
        except (Unavailable, DeadlineExceeded, Cancelled) as error:
            if isinstance(error, RegistryUnavailable) or (code is not PodyardError and isinstance(error, code)):
                return error
            raise Unmet(wanted, f"{error.status}: {error}") from error
        except Unimplemented:
            raise
        except PodyardError as error:
            if (fixed or self.strict) and not isinstance(error, code):
                raise Unmet(wanted, f"{error.status}: {error}") from error
            if self.strict and says.lower() not in str(error).lower():
                raise Unmet(f"an error that names {says!r}", f"{error.status}: {error}") from error
            return error
        raise Unmet(wanted, f"success: {str(result).strip() or 'an empty answer'}")

    async def connect(self, version: str) -> Client:
        """A further client that speaks one version of the protocol; the case is skipped where it is not served."""
        target = self.session.target
        try:
            client = await Client.connect(
                target.runtime_endpoint, target.image_endpoint, versions=[version], timeout=target.timeout
            )
        except EndpointError as error:
            if "UNIMPLEMENTED" in str(error):
                skip(f"the endpoint does not serve {version}")
            raise
        self._clients.append(client)
        return client

    def handler_features(self) -> api.RuntimeHandlerFeatures:
        """What the handler in use says it can do."""
        for handler in self.session.status.runtime_handlers:
            if handler.name == self.session.target.handler:
                return handler.features
        return api.RuntimeHandlerFeatures()

    async def close(self) -> list[str]:
        """Remove what the case has made; what could not be removed, and why."""
        problems = await self.session.remove(self.labels)
        for reference in sorted(self._pulled):
            try:
                await self.images.remove_image(reference)
            except PodyardError as error:
                if re.search(r"@|:\d+/", reference):
                    problems.append(f"image {reference}: {error.status}: {error}")
        for client in self._clients:
            await client.close()
        return problems

    async def _reaches(self, container_id: str, state: api.ContainerState.ValueType) -> api.ContainerStatus:
        status = await self.status(container_id)
        try:
            async with asyncio.timeout(WAIT_LIMIT):
                while status.state != state:
                    await asyncio.sleep(0.02)
                    status = await self.status(container_id)
        except TimeoutError:
            wanted = f"{api.ContainerState.Name(state)} within {WAIT_LIMIT:g} s"
            raise Unmet(wanted, api.ContainerState.Name(status.state)) from None
        return status


async def until(
    condition: Callable[[], bool], expected: str, came: Callable[[], str], patience: float = WAIT_LIMIT
) -> None:
    """Look until a condition holds. Raises Unmet after ``patience`` seconds, with what was expected and what came."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise Unmet(f"{expected} within {patience:g} s", came())
        await asyncio.sleep(0.02)


def _own_pids(context: api.LinuxSandboxSecurityContext | api.LinuxContainerSecurityContext) -> None:
    """As a kubelet asks for it where a Pod says nothing; the protocol's own default is a shared PID namespace."""
    if not context.HasField("namespace_options"):
        context.namespace_options.pid = api.CONTAINER
