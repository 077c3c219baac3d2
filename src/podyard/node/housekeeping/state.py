"""Which thresholds are met, for how long, and what the node's conditions are. A pure machine: the caller looks and has
the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from podyard.node.housekeeping.signals import Observation
from podyard.node.housekeeping.thresholds import Signal, Threshold

Condition = Literal["MemoryPressure", "DiskPressure", "PIDPressure"]

CONDITIONS: Mapping[Signal, Condition] = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
    "imagefs.available": "DiskPressure",
    "imagefs.inodesFree": "DiskPressure",
    "pid.available": "PIDPressure",
}
TRANSITION = 300.0
"""Seconds for which a condition is still told after it was seen last, so that it does not come and go: a kubelet's."""


class PressureState:
    """Remembers since when thresholds are met. Times: seconds, of a clock that never goes back."""

    def __init__(self, thresholds: Sequence[Threshold], transition: float = TRANSITION) -> None:
        # Memory that has run out does most harm; where a signal has two thresholds, the hard one leaves no time.
        self._thresholds = sorted(thresholds, key=lambda one: (one.signal != "memory.available", one.grace is not None))
        self._transition = transition
        self._since: dict[Threshold, float] = {}
        self._now: set[Condition] = set()
        self._seen: dict[Condition, tuple[float, str]] = {}

    def look(self, observed: Mapping[Signal, Observation], now: float) -> list[Threshold]:
        """The thresholds that ask for something to be done, the most urgent first."""
        met = [one for one in self._thresholds if self.is_met(one, observed)]
        self._since = {one: self._since.get(one, now) for one in met}
        self._now = {CONDITIONS[one.signal] for one in met}
        for one in met:
            found = observed[one.signal]
            self._seen[CONDITIONS[one.signal]] = now, f"{found.available} of {found.capacity} are left: {one.signal}"
        return [one for one in met if one.grace is None or now - self._since[one] >= one.grace]

    def is_met(self, threshold: Threshold, observed: Mapping[Signal, Observation]) -> bool:
        """Whether a threshold that was met still is: until there is so much more as its minimum reclaim says."""
        found = observed.get(threshold.signal)
        if found is None:
            return False
        enough = threshold.least.of(found.capacity)
        if threshold in self._since:
            enough += threshold.reclaim.of(found.capacity)
        return found.available < enough

    def conditions(self, now: float) -> dict[str, str]:
        """What the machine runs out of, or did lately, and by which figures."""
        return {
            kind: text
            for kind, (seen, text) in self._seen.items()
            if kind in self._now or now - seen < self._transition
        }
