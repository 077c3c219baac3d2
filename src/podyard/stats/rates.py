"""CPU use as a rate: two readings of one counter, and the time between them."""

from __future__ import annotations

from dataclasses import dataclass, field

LEAST = 1_000_000_000
"""Nanoseconds between the readings of a rate: over less, one time slice of the scheduler shows as a peak."""

KEPT = 2
"""Readings kept of a counter: two that are LEAST apart, so that one of them is old enough at any time after."""


@dataclass
class _Counter:
    readings: list[tuple[int, int]] = field(default_factory=list)
    seen: bool = True


class Rates:
    """Readings by a name, such as a cgroup's path. Not for several threads at once."""

    def __init__(self) -> None:
        self._counters: dict[str, _Counter] = {}

    def __len__(self) -> int:
        return len(self._counters)

    def rate(self, name: str, value: int, at: int) -> int | None:
        """What a counter rises by in a second; None until it was read for long enough.

        ``value``: the reading. ``at``: when, in nanoseconds of the monotonic clock.
        """
        counter = self._counters.setdefault(name, _Counter())
        counter.seen = True
        readings = counter.readings
        if readings and readings[-1][1] > value:
            # Another cgroup of the same name: it counts from 0 again.
            readings.clear()
        base = next(((when, was) for when, was in reversed(readings) if at - when >= LEAST), None)
        if not readings or at - readings[-1][0] >= LEAST:
            readings.append((at, value))
            del readings[:-KEPT]
        if base is None:
            return None
        when, was = base
        return (value - was) * 1_000_000_000 // (at - when)

    def forget_unseen(self) -> None:
        """Drop the counters that were not read since the last call."""
        self._counters = {name: counter for name, counter in self._counters.items() if counter.seen}
        for counter in self._counters.values():
            counter.seen = False
