"""Measuring a cgroup of v2 (kernel documentation, cgroup-v2)."""

from __future__ import annotations

from pathlib import Path

from podyard.stats import parse
from podyard.stats.files import processes_below, read
from podyard.stats.usage import Cpu, DeviceIo, HugePages, Limits, Memory, Pressure, Tasks, Throttling

_KERNEL_PARTS = ("slab", "kernel_stack", "pagetables", "percpu", "vmalloc")
"""What "kernel" in memory.stat counts together; kernels before 5.18 give the parts alone."""


class CgroupV2:
    """A cgroup by its folder. All figures include the cgroups below."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def cpu_usage(self) -> int | None:
        """Nanoseconds of CPU time."""
        usage = parse.keyed(self._read("cpu.stat")).get("usage_usec")
        return None if usage is None else usage * 1000

    def cpu(self) -> Cpu | None:
        """CPU time in full."""
        stat = parse.keyed(self._read("cpu.stat"))
        if "usage_usec" not in stat:
            return None
        throttling = None
        if "nr_periods" in stat:
            throttling = Throttling(
                stat["nr_periods"], stat.get("nr_throttled", 0), stat.get("throttled_usec", 0) * 1000
            )
        user, system = stat.get("user_usec", 0), stat.get("system_usec", 0)
        return Cpu(stat["usage_usec"] * 1000, user * 1000, system * 1000, throttling)

    def memory(self) -> Memory | None:
        """Memory and swap."""
        usage = parse.number(self._read("memory.current"))
        if usage is None:
            return None
        stat = parse.keyed(self._read("memory.stat"))
        faults, major_faults = stat.get("pgfault", 0), stat.get("pgmajfault", 0)
        return Memory(
            usage=usage,
            limit=parse.limit(self._read("memory.max")),
            inactive_file=stat.get("inactive_file", 0),
            rss=stat.get("anon", 0),
            cache=stat.get("file", 0),
            mapped_file=stat.get("file_mapped", 0),
            kernel=stat.get("kernel", sum(stat.get(part, 0) for part in _KERNEL_PARTS)),
            peak=parse.number(self._read("memory.peak")),
            limit_hits=parse.keyed(self._read("memory.events")).get("max", 0),
            page_faults=faults,
            major_page_faults=major_faults,
            own_page_faults=faults,
            own_major_page_faults=major_faults,
            swap=parse.number(self._read("memory.swap.current")),
            swap_limit=parse.limit(self._read("memory.swap.max")),
        )

    def io(self) -> list[DeviceIo]:
        """Input and output by device."""
        return parse.io_stat(self._read("io.stat"))

    def pressure(self, resource: str) -> Pressure | None:
        """Pressure on "cpu", "memory" or "io"."""
        return parse.pressure(self._read(f"{resource}.pressure"))

    def huge_pages(self) -> list[HugePages]:
        """Huge pages by size."""
        found = []
        for path in sorted(Path(self._folder).glob("hugetlb.*.current")):
            _, size, kind = path.name.split(".", 2)
            usage = parse.number(read(path)) if kind == "current" else None
            if usage is not None:
                found.append(HugePages(size, usage, None))
        return found

    def limits(self) -> Limits:
        """What it is allowed."""
        quota, _, period = (self._read("cpu.max") or "").strip().partition(" ")
        weight = parse.number(self._read("cpu.weight"))
        return Limits(
            cpu_shares=None if weight is None else _shares(weight),
            cpu_period=parse.number(period),
            cpu_quota=parse.number(quota),
            memory=parse.limit(self._read("memory.max")),
            memory_reservation=parse.limit(self._read("memory.min")),
            memory_and_swap=parse.limit(self._read("memory.swap.max")),
        )

    def tasks(self) -> Tasks | None:
        """Threads."""
        threads = parse.number(self._read("pids.current"))
        return None if threads is None else Tasks(threads, parse.limit(self._read("pids.max")))

    def oom_kills(self) -> int | None:
        """Processes that the kernel killed for want of memory."""
        return parse.keyed(self._read("memory.events")).get("oom_kill")

    def processes(self) -> list[int]:
        """The processes in it and in those below."""
        return processes_below(self._folder)

    def _read(self, name: str) -> str | None:
        return read(f"{self._folder}/{name}")


def _shares(weight: int) -> int:
    """A weight (1 … 10000) as the shares (2 … 262144) that OCI runtimes make it from."""
    return 2 + (weight - 1) * 262142 // 9999
