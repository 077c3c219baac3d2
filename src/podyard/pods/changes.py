"""A manifest that changes while its containers run (Kubernetes documentation, "Pod update and replacement" and "Resize
CPU and Memory Resources assigned to Containers")."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError
from podyard.manifest.model import Container
from podyard.manifest.translate import container_hash
from podyard.manifest.translate.labels import CONTAINER_HASH
from podyard.manifest.translate.resources import linux_resources
from podyard.pods.launch import Launcher
from podyard.pods.steps import Steps

_FIELDS: dict[Literal["cpu", "memory"], tuple[str, ...]] = {
    "cpu": ("cpu_quota", "cpu_shares"),
    "memory": ("memory_limit_in_bytes",),
}


class Changes:
    """Compares the containers of one Pod that run with its manifest."""

    def __init__(self, client: Client, launcher: Launcher, steps: Steps) -> None:
        self._client = client
        self._launcher = launcher
        self._steps = steps
        self._refused: dict[str, bytes] = {}

    async def look(self, container: Container, running: api.Container) -> None:
        """Give a container the limits of its manifest; stop it, to be started again, where its resizePolicy asks for
        that or where something else of it has changed.

        What the endpoint refuses is told, and tried again when the manifest changes.
        """
        wanted = linux_resources(self._launcher.pod, container, self._launcher.host.memory)
        text = wanted.SerializeToString(deterministic=True)
        path = self._launcher.folder.resources(container.name, running.metadata.attempt)
        given = await asyncio.to_thread(_read, path)
        changed = running.annotations.get(CONTAINER_HASH) != container_hash(container)
        board = self._launcher.board
        if text == given and not changed:
            board.resources[container.name] = container.resources
            board.resizing.pop(container.name, None)
            return
        if self._refused.get(running.id) == text:
            return
        try:
            if changed or (given is not None and _asks_for_restart(container, given, wanted)):
                await self._stop(container, running.id)
            else:
                board.resizing[container.name] = ""
                with self._steps.step("changing the resources of", container.name):
                    await self._client.runtime.update_container_resources(running.id, wanted)
                    await asyncio.to_thread(path.write_bytes, text)
        except PodyardError as error:
            self._refused[running.id] = text  # the step has told it
            if container.name in board.resizing:
                board.resizing[container.name] = str(error)

    async def _stop(self, container: Container, container_id: str) -> None:
        self._launcher.board.replaced.add(container_id)
        with self._steps.step("stopping, for its manifest changed,", container.name):
            grace = self._launcher.pod.spec.termination_grace_period_seconds
            await self._launcher.stop(container, container_id, grace)


def _asks_for_restart(container: Container, given: bytes, wanted: api.LinuxContainerResources) -> bool:
    before = api.LinuxContainerResources.FromString(given)
    return any(
        getattr(before, field) != getattr(wanted, field)
        for policy in container.resize_policy
        if policy.restart_policy == "RestartContainer"
        for field in _FIELDS[policy.resource_name]
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None  # made by a version that wrote none: what it was given is not known
