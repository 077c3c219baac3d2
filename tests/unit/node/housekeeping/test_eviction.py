"""One look after the other: what is done about a machine that runs out of something."""

from __future__ import annotations

import pytest
from tests.support.pressure import Machine, candidate, pod_of

from podyard.errors import Unavailable
from podyard.node.housekeeping.eviction import Evictor
from podyard.node.housekeeping.thresholds import Threshold, parse_hard, parse_soft
from podyard.node.wanted import Rejection
from podyard.pods import PodView
from podyard.pods.verdict import Verdict

REFUSED = Rejection("Evicted", "The node had condition: [MemoryPressure]. ")
HARD = parse_hard("memory.available<100,nodefs.available<100")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.running = [candidate("small", 10), candidate("large", 500), candidate("medium", 100)]
    return machine


def evictor(machine: Machine, clock: Clock, thresholds: list[Threshold] | None = None, grace: int = 0) -> Evictor:
    return Evictor(machine, thresholds or HARD, transition=300.0, longest_grace=grace, clock=clock)


def names(machine: Machine) -> list[str]:
    return [name for name, _ in machine.ended]


async def test_one_pod_goes_at_a_time_until_there_is_enough(machine: Machine) -> None:
    one = evictor(machine, Clock())
    await one.look()
    assert (names(machine), one.conditions()) == ([], {})
    machine.left["memory.available"] = 50
    await one.look()
    assert names(machine) == ["default/large"]
    await one.look()
    assert names(machine) == ["default/large", "default/medium"]
    machine.left["memory.available"] = 100
    await one.look()
    assert len(machine.ended) == 2
    _, verdict = machine.ended[0]
    message = "The node was low on resource: memory. Threshold quantity: 100, available: 50. "
    assert verdict == Verdict("Evicted", message, disruption=True, grace=1)
    assert machine.reclaimed == []


async def test_a_full_disk_is_cleared_up_before_a_pod_goes(machine: Machine) -> None:
    one = evictor(machine, Clock())
    machine.left["nodefs.available"], machine.frees = 50, {"nodefs.available": 100}
    await one.look()
    assert (machine.reclaimed, names(machine)) == ([True], [])
    assert list(one.conditions()) == ["DiskPressure"]
    machine.left["nodefs.available"], machine.frees = 50, {"nodefs.available": 99}
    await one.look()
    assert (machine.reclaimed, names(machine)) == ([True, True], ["default/large"])
    assert "ephemeral-storage. Threshold quantity: 100, available: 99" in machine.ended[0][1].message
    # Images on a disk of their own give the other nothing.
    machine.own_image_disk = True
    machine.left["nodefs.available"] = 50
    await one.look()
    assert machine.reclaimed == [True, True, False]


async def test_a_soft_threshold_leaves_time_for_both(machine: Machine) -> None:
    clock = Clock()
    soft = parse_soft("memory.available<100", "memory.available=30s")
    one = evictor(machine, clock, soft, grace=10)
    machine.left["memory.available"] = 50
    await one.look()
    assert names(machine) == []
    clock.now += 30
    await one.look()
    assert [(name, verdict.grace) for name, verdict in machine.ended] == [("default/large", 10)]


async def test_who_cannot_be_ended_is_left_for_the_next(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    end = machine.end

    async def fails_once(view: PodView, verdict: Verdict) -> None:
        if view.name == "large":
            raise Unavailable("no answer")
        await end(view, verdict)

    monkeypatch.setattr(machine, "end", fails_once)
    machine.left["memory.available"] = 50
    await evictor(machine, Clock()).look()
    assert names(machine) == ["default/medium"]


async def test_critical_pods_stay_even_if_they_are_all_there_is(machine: Machine) -> None:
    machine.running = [candidate("critical", 900, spec="priorityClassName: system-node-critical")]
    machine.left["memory.available"] = 50
    await evictor(machine, Clock()).look()
    assert names(machine) == []


async def test_conditions_refuse_new_pods_and_are_told_when_they_change(machine: Machine) -> None:
    clock = Clock()
    one = evictor(machine, clock)
    changes: list[list[str]] = []
    one.on_change = lambda: changes.append(list(one.conditions()))
    assert one.refuses(pod_of("new")) is None
    machine.left["memory.available"] = 50
    await one.look()
    assert one.refuses(pod_of("new")) == REFUSED
    machine.left["memory.available"] = 500
    clock.now += 10
    await one.look()
    assert one.refuses(pod_of("new")) == REFUSED
    clock.now += 300
    await one.look()
    assert one.refuses(pod_of("new")) is None
    assert changes == [["MemoryPressure"], []]
