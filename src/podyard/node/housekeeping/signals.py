"""How much the machine has left of what it can run out of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podyard.node.filesystem import FileSystem, file_system
from podyard.node.housekeeping.thresholds import Signal
from podyard.node.usage import read_machine_usage


@dataclass(frozen=True)
class Observation:
    """Bytes, inodes or process ids."""

    available: int
    capacity: int


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One look at the machine."""

    signals: Mapping[Signal, Observation]
    """Those that this machine has."""
    own_image_disk: bool
    """Whether images are on another file system than Pods' volumes and logs."""


def observe(pod_root: Path, image_root: Path | None, proc: Path = Path("/proc")) -> Observed:
    """Look at the machine. Asks file systems: for a thread. Raises OSError, ValueError or KeyError."""
    machine = read_machine_usage(proc)
    node_fs = file_system(pod_root)
    image_fs = file_system(image_root) if image_root is not None and image_root.exists() else None
    signals: dict[Signal, Observation] = {
        "memory.available": Observation(machine.memory_total - machine.working_set, machine.memory_total),
        "nodefs.available": Observation(node_fs.available, node_fs.capacity),
        "pid.available": _process_ids(proc),
    }
    if node_fs.inodes:
        signals["nodefs.inodesFree"] = _inodes(node_fs)
    if image_fs is not None:
        signals["imagefs.available"] = Observation(image_fs.available, image_fs.capacity)
        if image_fs.inodes:
            signals["imagefs.inodesFree"] = _inodes(image_fs)
    return Observed(signals=signals, own_image_disk=image_fs is not None and image_fs.device != node_fs.device)


def _inodes(found: FileSystem) -> Observation:
    return Observation(found.inodes_free, found.inodes)


def _process_ids(proc: Path) -> Observation:
    """Of the tasks that there can be (proc_loadavg(5), proc_sys_kernel(5))."""
    tasks = int((proc / "loadavg").read_text().split()[3].rpartition("/")[2])
    limit = min(int((proc / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))
    return Observation(max(0, limit - tasks), limit)
