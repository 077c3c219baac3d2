"""Everything that the metrics of one container are made of, read at one moment."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.stats.cgroup import Cgroup
from podyard.stats.processes import Descriptors, descriptors, soft_limits
from podyard.stats.readings import RESOURCES
from podyard.stats.usage import Cpu, DeviceIo, Disk, HugePages, Limits, Memory, Pressure, Tasks


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system that holds the writable layers."""

    device: str
    size: int
    inodes: int
    free_inodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A container."""

    timestamp: int
    started_at: int
    cpu: Cpu | None
    memory: Memory | None
    io: Sequence[DeviceIo]
    pressure: Mapping[str, Pressure | None]
    huge_pages: Sequence[HugePages]
    limits: Limits
    tasks: Tasks | None
    oom_kills: int | None
    processes: int
    descriptors: Descriptors
    soft_limits: Mapping[str, int]
    disk: Disk | None
    file_system: FileSystem


def take(cgroup: Cgroup, *, pid: int, started_at: int, disk: Disk | None, file_system: FileSystem) -> Sample | None:
    """Read it; None when the container has ended."""
    cpu, memory = cgroup.cpu(), cgroup.memory()
    if cpu is None and memory is None:
        return None
    pids = cgroup.processes()
    return Sample(
        timestamp=time.time_ns(),
        started_at=started_at,
        cpu=cpu,
        memory=memory,
        io=cgroup.io(),
        pressure={resource: cgroup.pressure(resource) for resource in RESOURCES},
        huge_pages=cgroup.huge_pages(),
        limits=cgroup.limits(),
        tasks=cgroup.tasks(),
        oom_kills=cgroup.oom_kills(),
        processes=len(pids),
        descriptors=descriptors(pids),
        soft_limits=soft_limits(pid),
        disk=disk,
        file_system=file_system,
    )


def file_system(folder: Path) -> FileSystem:
    """The file system that ``folder`` is on. Raises OSError."""
    status, device = os.statvfs(folder), folder.stat().st_dev
    return FileSystem(
        device=device_name(f"{os.major(device)}:{os.minor(device)}"),
        size=status.f_blocks * status.f_frsize,
        inodes=status.f_files,
        free_inodes=status.f_ffree,
    )


def device_name(numbers: str) -> str:
    """A block device's path by "major:minor", such as /dev/sda; the numbers themselves where it has no name."""
    try:
        return f"/dev/{Path(f'/sys/dev/block/{numbers}').readlink().name.replace('!', '/')}"
    except OSError:
        return numbers
