"""Whether a Pod's volumes hold more than they may (Kubernetes documentation, "Volumes", emptyDir; "Local Ephemeral
Storage"): such a Pod is evicted, it ends for good."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from podyard.manifest.model import Pod
from podyard.pods.folders import PodFolder

_BLOCK = 512
"""Bytes of a block of stat(2)."""


def excess(pod: Pod, folder: PodFolder) -> str:
    """Which emptyDir holds more than its limit, in a kubelet's words; "" where none does. For a thread.

    Those in memory are limited by their file system.
    """
    for volume in pod.spec.volumes:
        given = volume.empty_dir
        if given is None or given.size_limit is None or given.medium:
            continue
        if tree_usage(folder.volume(volume.name)).size > given.size_limit.value:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{given.size_limit}".'
    return ""


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
