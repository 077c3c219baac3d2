"""A control group as something that can be measured, in one form for both versions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

from podyard.linux import cgroups
from podyard.stats.cgroup_v1 import CgroupV1
from podyard.stats.cgroup_v2 import CgroupV2
from podyard.stats.usage import Cpu, DeviceIo, HugePages, Limits, Memory, Pressure, Tasks

_ROOT = str(cgroups.ROOT)


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
        return CgroupV2(f"{_ROOT}/{relative}")
    return CgroupV1(lambda controller: f"{_ROOT}/{controller}/{relative}", _unified(relative))


def _unified(relative: str) -> str | None:
    """The cgroup's folder in the v2 tree of a hybrid host."""
    return f"{_ROOT}/unified/{relative}" if relative and _is_hybrid() else None


@lru_cache(maxsize=1)
def _is_hybrid() -> bool:
    return Path(_ROOT, "unified").is_dir()
