"""Sandboxes and containers for tests, through any CRI endpoint: short to ask for, removed at the end."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE
from tests.support.servers import Server, remove_folder

from podyard.client import Client
from podyard.cri import api
from podyard.validate.logs import is_written

_numbers = itertools.count(1)

WAIT_LIMIT = 30.0 * PATIENCE


class Kit:
    """What a test of one runtime needs. ``folder`` takes logs and volumes, ``image`` is what containers run."""

    def __init__(self, client: Client, folder: Path, image: str, runtime: str) -> None:
        self.client = client
        self.folder = folder
        self.image = image
        self.runtime = runtime
        self.configs: dict[str, api.PodSandboxConfig] = {}

    def sandbox_config(self, name: str = "", **fields: Any) -> api.PodSandboxConfig:
        """A sandbox's request; ``fields`` stand beside or in place of the defaults."""
        number = next(_numbers)
        name = name or f"pod-{os.getpid()}-{number}"
        metadata = api.PodSandboxMetadata(name=name, namespace="test", uid=f"uid-{name}", attempt=0)
        defaults: dict[str, Any] = {
            "metadata": metadata,
            "hostname": name,
            "log_directory": str(self.folder / "logs" / name),
            "linux": api.LinuxPodSandboxConfig(),
        }
        config = api.PodSandboxConfig(**{**defaults, **fields})
        _own_pids(config.linux.security_context)
        return config

    async def sandbox(self, config: api.PodSandboxConfig | None = None, handler: str = "", **fields: Any) -> str:
        """Run a sandbox; its id."""
        config = config or self.sandbox_config(**fields)
        sandbox_id = await self.client.runtime.run_pod_sandbox(config, handler)
        self.configs[sandbox_id] = config
        return sandbox_id

    def container_config(self, command: Sequence[str] = (), name: str = "", **fields: Any) -> api.ContainerConfig:
        """A container's request; ``fields`` stand beside or in place of the defaults."""
        name = name or f"c{next(_numbers)}"
        defaults: dict[str, Any] = {
            "metadata": api.ContainerMetadata(name=name, attempt=0),
            "image": api.ImageSpec(image=self.image),
            "command": list(command),
            "log_path": f"{name}.log",
            "linux": api.LinuxContainerConfig(),
        }
        config = api.ContainerConfig(**{**defaults, **fields})
        _own_pids(config.linux.security_context)
        return config

    async def create(self, sandbox_id: str, command: Sequence[str] = (), **fields: Any) -> str:
        """Create a container; its id."""
        config = self.container_config(command, **fields)
        return await self.client.runtime.create_container(sandbox_id, config, self.configs[sandbox_id])

    async def start(self, sandbox_id: str, command: Sequence[str] = (), **fields: Any) -> str:
        """Create and start a container; its id."""
        container_id = await self.create(sandbox_id, command, **fields)
        await self.client.runtime.start_container(container_id)
        return container_id

    async def shell(self, sandbox_id: str, script: str, **fields: Any) -> str:
        """Run a script in a container of its own to its end; what it wrote. Its exit code must be 0."""
        container_id = await self.start(sandbox_id, ["sh", "-c", script], **fields)
        status = await self.ended(container_id)
        output = self.output(status)
        assert status.exit_code == 0, f"exit code {status.exit_code} ({status.reason} {status.message}): {output}"
        return output

    async def status(self, container_id: str) -> api.ContainerStatus:
        """A container's status."""
        return (await self.client.runtime.container_status(container_id)).status

    async def ended(self, container_id: str) -> api.ContainerStatus:
        """Wait until a container has exited; its status."""
        async with asyncio.timeout(WAIT_LIMIT):
            while (status := await self.status(container_id)).state != api.CONTAINER_EXITED:
                await asyncio.sleep(0.02)
            # containerd writes the last of the log after it has told of the end.
            while self.runtime == "containerd" and is_written(Path(status.log_path)):
                await asyncio.sleep(0.02)
        return status

    async def exec(self, container_id: str, *command: str, timeout: int = int(20 * PATIENCE)) -> str:
        """Run a command in a container; what it wrote. Its exit code must be 0."""
        result = await self.client.runtime.exec_sync(container_id, list(command), timeout)
        assert result.exit_code == 0, result
        return result.stdout.decode()

    def output(self, status: api.ContainerStatus) -> str:
        """What a container has written, both streams, without the log's own fields."""
        return "".join(content for _, content in self.log_lines(status))

    def log_lines(self, status: api.ContainerStatus) -> list[tuple[str, str]]:
        """Stream and content (with its line end) of each line of a container's log."""
        return parse_log(Path(status.log_path).read_bytes())

    async def close(self) -> None:
        """Remove every sandbox that was made and is still there."""
        for sandbox in await self.client.runtime.list_pod_sandbox():
            if sandbox.id in self.configs:
                await self.client.runtime.stop_pod_sandbox(sandbox.id)
                await self.client.runtime.remove_pod_sandbox(sandbox.id)
        self.configs.clear()


def _own_pids(security: api.LinuxSandboxSecurityContext | api.LinuxContainerSecurityContext) -> None:
    """As a kubelet asks for it where a Pod says nothing; the protocol's own default is a shared PID namespace."""
    if not security.HasField("namespace_options"):
        security.namespace_options.pid = api.CONTAINER


def parse_log(log: bytes) -> list[tuple[str, str]]:
    """Stream and content of each line of a log in the CRI's format; a whole line's content ends with its line end."""
    lines = []
    for line in log.splitlines():
        _, stream, tag, content = line.split(b" ", 3)
        end = "\n" if tag == b"F" else ""
        lines.append((stream.decode(), content.decode(errors="replace") + end))
    return lines


@asynccontextmanager
async def kit_on(server: Server, image: str) -> AsyncIterator[Kit]:
    """What a test needs of a server, in a folder of its own there; nothing of it is left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tests-", dir=server.folder))
    try:
        async with await Client.connect(server.endpoint) as client:
            await client.images.pull_image(image)
            kit = Kit(client, folder, image, server.name)
            try:
                yield kit
            finally:
                await kit.close()
    finally:
        remove_folder(folder)  # mounts too: an agent that is ended on its way leaves them to the next one


def security(**fields: object) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**fields))  # type: ignore[arg-type]


def limits(**resources: int) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(resources=api.LinuxContainerResources(**resources))  # type: ignore[arg-type]
