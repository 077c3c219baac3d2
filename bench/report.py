"""The benchmark's tables."""

from __future__ import annotations

from statistics import median

from bench.calls import POD_START, Calls
from bench.memory import Cost


def show(calls: list[Calls], costs: list[Cost], floor: dict[str, list[float]], rounds: int, pods: int) -> None:
    """Print times, ratios and memory."""
    ours, theirs = calls
    print(f"median of {rounds} rounds, ms{'':14}{ours.name:>12}{theirs.name:>12}{'ratio':>8}")
    _line("pod start (all three)", _sum(ours), _sum(theirs))
    for call in ours.times:
        _line(call, median(ours.times[call]), median(theirs.times[call]))
    print("\nfloor, ms")
    for name, times in floor.items():
        print(f"{name:40}{median(times) * 1000:12.1f}")
    print(f"\nmemory with {pods} idle pods, MB{'':10}{costs[0].name:>12}{costs[1].name:>12}{'ratio':>8}")
    _memory("beside each pod (monitor, shim, pause)", costs[0].per_pod, costs[1].per_pod)
    _memory("daemon", costs[0].daemon, costs[1].daemon)


def _sum(calls: Calls) -> float:
    return median(sum(parts) for parts in zip(*(calls.times[call] for call in POD_START), strict=True))


def _line(name: str, ours: float, theirs: float) -> None:
    print(f"{name:40}{ours * 1000:12.1f}{theirs * 1000:12.1f}{ours / theirs:8.2f}")


def _memory(name: str, ours: float, theirs: float) -> None:
    print(f"{name:40}{ours / 1e6:12.1f}{theirs / 1e6:12.1f}{ours / theirs:8.2f}")
