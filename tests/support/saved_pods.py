"""Pods that are checkpointed and restored: requests for them, and what their containers show of where they are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.support.pods import WAIT_LIMIT, Kit

from podyard.cri import api

COUNT = "n=0; while true; do n=$((n+1)); echo $n; sleep 0.05; done"
"""Counts, so that it shows whether it goes on or begins anew."""


class SavedPod:
    """A running sandbox with containers, and what it takes to checkpoint and to restore it."""

    def __init__(self, kit: Kit, handler: str, containers: list[api.ContainerConfig]) -> None:
        self.kit = kit
        self.handler = handler
        self.containers = containers
        self.id = ""
        self.ids: list[str] = []

    async def start(self) -> None:
        self.id = await self.kit.sandbox(handler=self.handler)
        config = self.kit.configs[self.id]
        self.ids = [await self.kit.client.runtime.create_container(self.id, one, config) for one in self.containers]
        for container_id in self.ids:
            await self.kit.client.runtime.start_container(container_id)

    async def checkpoint(self, output: Path, timeout: float | None = None, **fields: Any) -> None:
        request = api.CheckpointPodRequest(pod_sandbox_id=self.id, output_path=str(output), **fields)
        await self.kit.client.runtime.call("CheckpointPod", request, timeout)

    def request(self, source: Path, config: api.PodSandboxConfig | None = None, **fields: Any) -> api.RestorePodRequest:
        config = config or self.kit.sandbox_config()
        defaults = {"container_configs": self.containers, "runtime_handler": self.handler}
        return api.RestorePodRequest(checkpoint_path=str(source), config=config, **{**defaults, **fields})

    async def restore(self, request: api.RestorePodRequest) -> api.RestorePodResponse:
        answer: api.RestorePodResponse = await self.kit.client.runtime.call("RestorePod", request)
        self.kit.configs[answer.pod_sandbox_id] = request.config
        return answer


def counting_pod(
    kit: Kit, handler: str = "stand-in", script: str = COUNT, names: tuple[str, ...] = ("one", "two")
) -> SavedPod:
    """A Pod of containers that count."""
    containers = [
        kit.container_config(["sh", "-c", script], name=name, envs=[api.KeyValue(key="NAME", value=name.encode())])
        for name in names
    ]
    return SavedPod(kit, handler, containers)


async def counted(kit: Kit, container_id: str, to: int) -> list[int]:
    """What a container has counted, once it has come to a number."""
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            seen = [int(line) for line in kit.output(await kit.status(container_id)).split()]
            if seen and seen[-1] >= to:
                return seen
            await asyncio.sleep(0.02)


def entries(folder: Path) -> list[str]:
    """The names in a directory."""
    return sorted(path.name for path in folder.iterdir())
