"""What Pods leave behind: earlier attempts at containers, sandboxes of earlier starts, and the files of Pods that an
endpoint does not know any more."""

from __future__ import annotations

import asyncio
from collections import Counter

from podyard.client import Client
from podyard.cri import api
from podyard.pods.cleanup import discard_files
from podyard.pods.engine import PodEngine
from podyard.pods.folders import PodFolder
from podyard.pods.host_mounts import remove_tree
from podyard.pods.removal import remove_folder
from podyard.pods.views import ContainerView, PodView

KEPT = 1
"""Ended attempts at each container before the newest that stay to be looked at: as many as a kubelet keeps."""


async def tidy(client: Client, folder: PodFolder, view: PodView, *, hard: bool = False) -> None:
    """Remove a Pod's ended attempts but one, and its earlier sandboxes that are empty.

    ``hard``: remove all ended attempts but the newest, by which it is known how the Pod stands; of a Pod that the node
    has ended, all of them with the files of its volumes. Raises what the endpoint answers, and OSError.
    """
    gone = list(_superfluous(view, 0 if hard else KEPT))
    over = hard and view.verdict is not None and all(one.state == "exited" for one in view.containers)
    if over:
        gone += view.containers
    for one in gone:
        await client.runtime.remove_container(one.id)
        await asyncio.to_thread(discard_files, folder, one.name, one.restarts)
    if over:
        await asyncio.to_thread(remove_tree, folder.volumes)
    for sandbox_id in view.sandboxes[1:]:
        if not await client.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id)):
            await client.runtime.stop_pod_sandbox(sandbox_id)
            await client.runtime.remove_pod_sandbox(sandbox_id)


def _superfluous(view: PodView, kept: int) -> list[ContainerView]:
    found, counts = [], Counter[str]()
    for one in view.earlier:  # the newest first
        counts[one.name] += 1
        if one.state == "exited" and counts[one.name] > kept:
            found.append(one)
    return found


async def remove_orphans(client: Client, engine: PodEngine) -> list[str]:
    """Remove the files of the endpoint's Pods that are gone from it, and that nobody starts just now. Their names.

    Raises what the endpoint answers, and what removing raises.
    """
    folders = engine.folders
    left = await asyncio.to_thread(folders.made_on, client.endpoint)
    if not left:
        return []
    known = {(view.namespace, view.name, view.uid) for view in await engine.list()}
    removed = []
    for namespace, name, uid in left:
        if (namespace, name, uid) in known:
            continue
        with folders.exclusive(namespace, name) as mine:
            # Somebody may have started it since the list was made.
            if mine and uid not in [view.uid for view in await engine.find(name, namespace)]:
                await remove_folder(folders.of(namespace, name, uid))
                removed.append(f"{namespace}/{name}")
    return removed
