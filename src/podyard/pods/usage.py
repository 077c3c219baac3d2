"""Whether a Pod takes more of the disk than it may (Kubernetes documentation, "Volumes", emptyDir; "Local Ephemeral
Storage"): such a Pod is evicted, it ends for good."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podyard.client import Client
from podyard.cri import api
from podyard.manifest.checks.resources import STORAGE
from podyard.manifest.model import Pod, Volume
from podyard.manifest.quantity import Quantity
from podyard.manifest.translate.resources import together
from podyard.pods.folders import PodFolder

_BLOCK = 512
"""Bytes of a block of stat(2)."""


async def writable_layers(client: Client, pod: Pod, sandbox_id: str) -> dict[str, int]:
    """Bytes that its containers have written to their own file systems, by their names; {} for a Pod that has no limit
    for that. Raises what the endpoint answers."""
    if not _storage_limits(pod):
        return {}
    stats = await client.runtime.list_container_stats(api.ContainerStatsFilter(pod_sandbox_id=sandbox_id))
    return {one.attributes.metadata.name: one.writable_layer.used_bytes.value for one in stats}


def excess(pod: Pod, folder: PodFolder, layers: Mapping[str, int]) -> str:
    """What takes more than its limit, in a kubelet's words: an emptyDir, the Pod, or one of its containers; "" where
    nothing does. For a thread. ``layers``: as ``writable_layers`` tells them.

    Volumes in memory are limited by their file system.
    """
    volumes = {volume.name: volume.empty_dir for volume in pod.spec.volumes if _is_on_disk(volume)}
    limits = _storage_limits(pod)
    sizes = {
        name: tree_usage(folder.volume(name)).size
        for name, given in volumes.items()
        if limits or (given is not None and given.size_limit is not None)
    }
    for name, given in volumes.items():
        if given is not None and given.size_limit is not None and sizes[name] > given.size_limit.value:
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{given.size_limit}".'
    if not limits:
        return ""
    used = {name: size + tree_usage(folder.logs / name).size for name, size in layers.items()}
    total = together(pod, lambda container: container.resources.limits)[STORAGE]
    if sum(used.values()) + sum(sizes.values()) > total.value:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}."
    for name, limit in limits.items():
        if used.get(name, 0) > limit.value:
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}".'
    return ""


def _is_on_disk(volume: Volume) -> bool:
    return volume.empty_dir is not None and not volume.empty_dir.medium


def _storage_limits(pod: Pod) -> dict[str, Quantity]:
    limits = {container.name: container.resources.limits.get(STORAGE) for container in pod.all_containers()}
    return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class TreeUsage:
    """Bytes on the disk, and inodes."""

    size: int = 0
    inodes: int = 0

    def __add__(self, other: TreeUsage) -> TreeUsage:
        return TreeUsage(self.size + other.size, self.inodes + other.inodes)


def tree_usage(path: Path) -> TreeUsage:
    """What a tree takes that changes as it is walked; a file with several names counts once. For a thread."""
    seen: set[int] = set()
    total = 0
    folders = [str(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in found:
            try:
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if state.st_ino not in seen:
                seen.add(state.st_ino)
                total += state.st_blocks * _BLOCK
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    return TreeUsage(total, len(seen))
