"""A control group as something that can be measured, in one form for both versions."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from podyard.linux import cgroups
from podyard.stats.cgroup_v1 import CgroupV1
from podyard.stats.cgroup_v2 import CgroupV2
from podyard.stats.usage import Cpu, DeviceIo, HugePages, Limits, Memory, Pressure, Tasks


class Cgroup(Protocol):
    """Each call reads files and blocks for some microseconds. None: the cgroup is gone, or has not that controller."""

    def cpu_usage(self) -> int | None:
        """Nanoseconds of CPU time: the cheapest of all readings."""

    def cpu(self) -> Cpu | None:
        """CPU time in full."""

    def memory(self) -> Memory | None:
        """Memory and swap."""

    def io(self) -> list[DeviceIo]:
        """Input and output by device; a device that was not used is not there."""

    def pressure(self, resource: str) -> Pressure | None:
        """Pressure on "cpu", "memory" or "io"."""

    def huge_pages(self) -> list[HugePages]:
        """Huge pages by size."""

    def limits(self) -> Limits:
        """What it is allowed."""

    def tasks(self) -> Tasks | None:
        """Threads."""

    def oom_kills(self) -> int | None:
        """Processes that the kernel killed for want of memory."""

    def processes(self) -> list[int]:
        """The processes in it and in those below."""


def open_cgroup(path: str) -> Cgroup:
    """The cgroup with a path from the hierarchy's root; it need not exist."""
    relative = path.lstrip("/")
    if cgroups.is_v2():
        return CgroupV2(cgroups.ROOT / relative)
    return CgroupV1(lambda controller: cgroups.ROOT / controller / relative, _unified(relative))


def _unified(relative: str) -> Path | None:
    """The cgroup's folder in the v2 tree of a hybrid host."""
    tree = cgroups.ROOT / "unified"
    return tree / relative if relative and tree.is_dir() else None
