"""One look at a cgroup, and several looked at as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podyard.stats.cgroup import Cgroup
from podyard.stats.rates import Rates
from podyard.stats.usage import Memory, Pressure

RESOURCES = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a cgroup has used. All None: it is gone."""

    timestamp: int
    """Nanoseconds since 1970."""
    cpu: int | None
    """Nanoseconds of CPU time."""
    rate: int | None
    """Nanoseconds of CPU time a second; None as long as there is no earlier reading to compare with."""
    memory: Memory | None
    pressure: Mapping[str, Pressure | None]
    """By the names in RESOURCES."""

    @property
    def is_there(self) -> bool:
        """Whether there was a cgroup."""
        return self.cpu is not None or self.memory is not None


def take(cgroup: Cgroup, path: str, rates: Rates) -> Reading:
    """Read a cgroup; ``path`` is the name of its counter in ``rates``."""
    usage = cgroup.cpu_usage()
    at = time.monotonic_ns()
    return Reading(
        timestamp=time.time_ns(),
        cpu=usage,
        rate=None if usage is None else rates.rate(path, usage, at),
        memory=cgroup.memory(),
        pressure={resource: cgroup.pressure(resource) for resource in RESOURCES},
    )


def together(readings: Sequence[Reading]) -> Reading:
    """The sum of several cgroups; without any, nothing was used. Pressure does not add up and is left out."""
    there = [reading for reading in readings if reading.is_there]
    rates = [reading.rate for reading in there if reading.rate is not None]
    return Reading(
        timestamp=max((reading.timestamp for reading in there), default=time.time_ns()),
        cpu=sum(reading.cpu or 0 for reading in there),
        rate=sum(rates) if rates or not there else None,
        memory=_all_memory([reading.memory for reading in there if reading.memory is not None]),
        pressure=dict.fromkeys(RESOURCES),
    )


def _all_memory(parts: Sequence[Memory]) -> Memory:
    def total(field: Callable[[Memory], int]) -> int:
        return sum(field(part) for part in parts)

    swaps = [part.swap for part in parts if part.swap is not None]
    return Memory(
        usage=total(lambda part: part.usage),
        limit=None,
        inactive_file=total(lambda part: part.inactive_file),
        rss=total(lambda part: part.rss),
        cache=total(lambda part: part.cache),
        mapped_file=total(lambda part: part.mapped_file),
        kernel=total(lambda part: part.kernel or 0),
        peak=None,
        limit_hits=total(lambda part: part.limit_hits),
        page_faults=total(lambda part: part.page_faults),
        major_page_faults=total(lambda part: part.major_page_faults),
        own_page_faults=total(lambda part: part.own_page_faults),
        own_major_page_faults=total(lambda part: part.own_major_page_faults),
        swap=sum(swaps) if swaps or not parts else None,
        swap_limit=None,
    )
