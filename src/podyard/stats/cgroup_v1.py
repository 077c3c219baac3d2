"""Measuring a cgroup of v1 (kernel documentation, cgroup-v1): one folder for each controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from podyard.stats import parse
from podyard.stats.files import processes_below, read
from podyard.stats.usage import Cpu, DeviceIo, HugePages, Limits, Memory, Pressure, Tasks, Throttling


class CgroupV1:
    """A cgroup by its controllers' folders. All figures include the cgroups below, except where a field says so.

    ``folder``: gives a controller's folder, as text: to put paths together takes longer than to read the files.
    ``unified``: its folder in the v2 tree of a hybrid host. v1 counts no pressure; that tree does, where an OCI runtime
    has put the container there, too.
    """

    def __init__(self, folder: Callable[[str], str], unified: str | None = None) -> None:
        self._folder = folder
        self._unified = unified

    def cpu_usage(self) -> int | None:
        """Nanoseconds of CPU time."""
        return parse.number(self._read("cpuacct", "cpuacct.usage"))

    def cpu(self) -> Cpu | None:
        """CPU time in full."""
        usage = self.cpu_usage()
        if usage is None:
            return None
        stat = parse.keyed(self._read("cpu", "cpu.stat"))
        throttling = None
        if "nr_periods" in stat:
            throttling = Throttling(stat["nr_periods"], stat.get("nr_throttled", 0), stat.get("throttled_time", 0))
        user = parse.number(self._read("cpuacct", "cpuacct.usage_user")) or 0
        system = parse.number(self._read("cpuacct", "cpuacct.usage_sys")) or 0
        return Cpu(usage, user, system, throttling)

    def memory(self) -> Memory | None:
        """Memory and swap."""
        usage = parse.number(self._read("memory", "memory.usage_in_bytes"))
        if usage is None:
            return None
        stat = parse.keyed(self._read("memory", "memory.stat"))
        limit = parse.limit(self._read("memory", "memory.limit_in_bytes"))
        both = parse.limit(self._read("memory", "memory.memsw.limit_in_bytes"))
        return Memory(
            usage=usage,
            limit=limit,
            inactive_file=stat.get("total_inactive_file", 0),
            rss=stat.get("total_rss", 0),
            cache=stat.get("total_cache", 0),
            mapped_file=stat.get("total_mapped_file", 0),
            kernel=parse.number(self._read("memory", "memory.kmem.usage_in_bytes")),
            peak=parse.number(self._read("memory", "memory.max_usage_in_bytes")),
            limit_hits=parse.number(self._read("memory", "memory.failcnt")) or 0,
            page_faults=stat.get("total_pgfault", 0),
            major_page_faults=stat.get("total_pgmajfault", 0),
            own_page_faults=stat.get("pgfault", 0),
            own_major_page_faults=stat.get("pgmajfault", 0),
            # A kernel without swap accounting does not count it.
            swap=stat.get("total_swap"),
            swap_limit=None if both is None or limit is None else max(0, both - limit),
        )

    def io(self) -> list[DeviceIo]:
        """Input and output by device, as the throttling layer counts it: whatever the I/O scheduler."""
        return parse.blkio(
            self._read("blkio", "blkio.throttle.io_service_bytes_recursive"),
            self._read("blkio", "blkio.throttle.io_serviced_recursive"),
        )

    def pressure(self, resource: str) -> Pressure | None:
        """Pressure on "cpu", "memory" or "io"."""
        return None if self._unified is None else parse.pressure(read(f"{self._unified}/{resource}.pressure"))

    def huge_pages(self) -> list[HugePages]:
        """Huge pages by size."""
        found = []
        for path in sorted(Path(self._folder("hugetlb")).glob("hugetlb.*.usage_in_bytes")):
            _, size, kind = path.name.split(".", 2)
            usage = parse.number(read(path)) if kind == "usage_in_bytes" else None
            if usage is not None:
                peak = parse.number(self._read("hugetlb", f"hugetlb.{size}.max_usage_in_bytes"))
                found.append(HugePages(size, usage, peak))
        return found

    def limits(self) -> Limits:
        """What it is allowed."""
        return Limits(
            cpu_shares=parse.number(self._read("cpu", "cpu.shares")),
            cpu_period=parse.number(self._read("cpu", "cpu.cfs_period_us")),
            cpu_quota=parse.limit(self._read("cpu", "cpu.cfs_quota_us")),
            memory=parse.limit(self._read("memory", "memory.limit_in_bytes")),
            memory_reservation=parse.limit(self._read("memory", "memory.soft_limit_in_bytes")),
            memory_and_swap=parse.limit(self._read("memory", "memory.memsw.limit_in_bytes")),
        )

    def tasks(self) -> Tasks | None:
        """Threads."""
        threads = parse.number(self._read("pids", "pids.current"))
        return None if threads is None else Tasks(threads, parse.limit(self._read("pids", "pids.max")))

    def oom_kills(self) -> int | None:
        """Processes that the kernel killed for want of memory."""
        return parse.keyed(self._read("memory", "memory.oom_control")).get("oom_kill")

    def processes(self) -> list[int]:
        """The processes in it and in those below."""
        return processes_below(self._folder("memory"))

    def _read(self, controller: str, name: str) -> str | None:
        return read(f"{self._folder(controller)}/{name}")
