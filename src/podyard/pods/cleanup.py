"""Taking away the attempts before the last one: it is kept for inspection, as a kubelet does."""

from __future__ import annotations

import asyncio

from podyard.client import Client
from podyard.cri import api
from podyard.pods.folders import PodFolder
from podyard.pods.host_mounts import remove_tree
from podyard.pods.launch import Launcher


async def discard_attempt(client: Client, launcher: Launcher, name: str, attempt: int) -> None:
    """Remove one attempt at a container that has ended, with its log and what was mounted for it."""
    in_sandbox = api.ContainerFilter(pod_sandbox_id=launcher.sandbox_id)
    for container in await client.runtime.list_containers(in_sandbox):
        if (container.metadata.name, container.metadata.attempt) == (name, attempt):
            await client.runtime.remove_container(container.id)
    await asyncio.to_thread(discard_files, launcher.folder, name, attempt)


def discard_files(folder: PodFolder, name: str, attempt: int) -> None:
    """Remove what was mounted for one attempt, and its log with all its parts."""
    remove_tree(folder.container(name, attempt))
    for log in (folder.logs / name).glob(f"{attempt}.log*"):
        log.unlink(missing_ok=True)
