"""What a control group, a file system and a network interface have used, whatever the cgroup version.

Times are nanoseconds, sizes bytes, unless a field says otherwise. None stands for what the host does not count.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stall:
    """Time lost waiting for a resource: percent of the last 10, 60 and 300 s, and microseconds in all."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """Pressure stall information (kernel documentation, psi): when some tasks waited, and when all did."""

    some: Stall
    full: Stall


@dataclass(frozen=True, slots=True)
class Throttling:
    """What a CPU quota has done: periods that passed, those in which tasks were held back, and for how long."""

    periods: int
    throttled_periods: int
    throttled_time: int


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time since the cgroup was made."""

    usage: int
    user: int
    system: int
    throttling: Throttling | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a cgroup and of those below it."""

    usage: int
    limit: int | None
    inactive_file: int
    rss: int
    cache: int
    mapped_file: int
    kernel: int | None
    peak: int | None
    limit_hits: int
    """How often an allocation ran into the limit."""
    page_faults: int
    major_page_faults: int
    own_page_faults: int
    """Without those of cgroups below; v2 does not tell them apart."""
    own_major_page_faults: int
    swap: int | None
    swap_limit: int | None
    """Of swap alone, without memory."""

    @property
    def working_set(self) -> int:
        """What cannot be given back easily: the figure that evictions go by."""
        return max(0, self.usage - self.inactive_file)

    @property
    def available(self) -> int | None:
        """What is left up to the limit; None without one."""
        return None if self.limit is None else max(0, self.limit - self.working_set)

    @property
    def swap_available(self) -> int | None:
        """Swap that may still be used; None without a limit."""
        return None if self.swap_limit is None else max(0, self.swap_limit - (self.swap or 0))


@dataclass(frozen=True, slots=True)
class DeviceIo:
    """What went through one block device, named "major:minor"."""

    device: str
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class HugePages:
    """Huge pages of one size ("2MB", as the cgroup files are named). ``peak``: v1 alone keeps it."""

    size: str
    usage: int
    peak: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cgroup is allowed. None: no limit."""

    cpu_shares: int | None
    cpu_period: int | None
    """Microseconds."""
    cpu_quota: int | None
    """Microseconds in each period."""
    memory: int | None
    memory_reservation: int | None
    memory_and_swap: int | None
    """v1: of both together; v2: of swap alone. As the kernel has it."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Threads of a cgroup, and how many it may have (None: any number)."""

    threads: int
    threads_limit: int | None


@dataclass(frozen=True, slots=True)
class Interface:
    """Counters of a network interface (proc_net(5), dev)."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory tree: ``bytes`` in blocks of the disk, each file counted once however many names it has."""

    bytes: int
    inodes: int
    timestamp: int
    """When it was measured, in nanoseconds since 1970."""
