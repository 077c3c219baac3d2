"""Whether the machine runs out of something: the signals and thresholds of Kubernetes ("Node-pressure Eviction")."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MEMORY_LEAST = 100 << 20
"""memory.available, in bytes; this and the next three are a kubelet's hard thresholds."""
DISK_LEAST = 0.10
"""nodefs.available, as a share of what there is."""
IMAGE_DISK_LEAST = 0.15
"""imagefs.available, as a share."""
INODES_LEAST = 0.05
"""nodefs.inodesFree and imagefs.inodesFree, as a share."""
PIDS_LEAST = 0.01
"""pid.available, as a share. A kubelet does not watch it unless it is told to."""

TRANSITION = 300.0
"""Seconds for which a pressure is still told after it was seen last, so that it does not come and go."""


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """Bytes and inodes."""

    capacity: int
    available: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What is left."""

    memory_available: int
    node_fs: FileSystem
    """Where Pods' volumes and logs are."""
    image_fs: FileSystem | None
    """Where the runtime keeps images; None where that is not known."""
    pids: int
    """How many tasks there are."""
    pids_limit: int
    """How many there can be."""


def read_signals(pod_root: Path, image_root: Path | None) -> Signals:
    """The signals as they are now. Asks file systems: for a thread. Raises OSError for what cannot be read."""
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    tasks = Path("/proc/loadavg").read_text().split()[3].rpartition("/")[2]
    limits = [int(Path("/proc/sys/kernel", name).read_text()) for name in ("pid_max", "threads-max")]
    return Signals(
        memory_available=int(memory["MemAvailable"].split()[0]) << 10,
        node_fs=file_system(pod_root),
        image_fs=file_system(image_root) if image_root is not None and image_root.exists() else None,
        pids=int(tasks),
        pids_limit=min(limits),
    )


def pressures(signals: Signals) -> dict[str, str]:
    """What the machine runs out of, and by which figures: "MemoryPressure", "DiskPressure", "PIDPressure"."""
    found = {}
    if signals.memory_available < MEMORY_LEAST:
        found["MemoryPressure"] = f"{signals.memory_available >> 20} MiB of memory are left"
    disks = [*_full("nodefs", signals.node_fs, DISK_LEAST), *_full("imagefs", signals.image_fs, IMAGE_DISK_LEAST)]
    if disks:
        found["DiskPressure"] = "; ".join(disks)
    if signals.pids_limit - signals.pids < PIDS_LEAST * signals.pids_limit:
        found["PIDPressure"] = f"{signals.pids} of {signals.pids_limit} tasks are there"
    return found


def _full(name: str, found: FileSystem | None, least: float) -> list[str]:
    if found is None:
        return []
    texts = []
    if found.available < least * found.capacity:
        texts.append(f"{found.available >> 20} MiB of {name}'s {found.capacity >> 20} MiB are left")
    if found.inodes_free < INODES_LEAST * found.inodes:
        texts.append(f"{found.inodes_free} of {name}'s {found.inodes} inodes are left")
    return texts


def file_system(path: Path) -> FileSystem:
    """The file system that ``path`` is or would be on; some have no fixed number of inodes: 0 of 0. For a thread.

    Raises OSError.
    """
    while not path.exists():
        path = path.parent
    state = os.statvfs(path)
    return FileSystem(
        capacity=state.f_blocks * state.f_frsize,
        available=state.f_bavail * state.f_frsize,
        inodes=state.f_files,
        inodes_free=state.f_favail,
    )
