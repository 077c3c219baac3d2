"""Since when thresholds are met, and what the node's conditions are."""

from __future__ import annotations

from podyard.node.housekeeping.signals import Observation
from podyard.node.housekeeping.state import PressureState
from podyard.node.housekeeping.thresholds import Signal, Threshold, parse_hard, parse_soft


def left(**amounts: int) -> dict[Signal, Observation]:
    names: dict[str, Signal] = {"memory": "memory.available", "disk": "nodefs.available", "inodes": "nodefs.inodesFree"}
    return {names[name]: Observation(amount, 1000) for name, amount in amounts.items()}


def signals(found: list[Threshold]) -> list[tuple[str, bool]]:
    return [(one.signal, one.grace is None) for one in found]


def test_what_is_below_its_threshold_is_due_at_once_and_memory_first() -> None:
    state = PressureState(parse_hard("nodefs.available<10%,memory.available<100"))
    assert state.look(left(memory=100, disk=100), 0.0) == []
    assert state.conditions(0.0) == {}
    assert signals(state.look(left(memory=99, disk=99), 1.0)) == [
        ("memory.available", True),
        ("nodefs.available", True),
    ]
    assert state.conditions(1.0) == {
        "MemoryPressure": "99 of 1000 are left: memory.available",
        "DiskPressure": "99 of 1000 are left: nodefs.available",
    }


def test_a_signal_that_the_machine_does_not_have_is_never_low() -> None:
    state = PressureState(parse_hard("imagefs.available<15%,nodefs.inodesFree<5%"))
    assert state.look(left(memory=0), 0.0) == []


def test_a_soft_threshold_is_due_when_it_was_met_all_the_time() -> None:
    state = PressureState(parse_soft("memory.available<200", "memory.available=30s"))
    assert state.look(left(memory=150), 0.0) == []
    assert list(state.conditions(0.0)) == ["MemoryPressure"]  # told from the first instant on
    assert state.look(left(memory=150), 29.0) == []
    assert state.look(left(memory=200), 29.5) == []
    assert state.look(left(memory=150), 30.0) == []  # begins anew
    assert signals(state.look(left(memory=150), 60.0)) == [("memory.available", False)]


def test_the_hard_threshold_of_a_signal_comes_before_the_soft_one() -> None:
    thresholds = [*parse_soft("memory.available<200", "memory.available=1s"), *parse_hard("memory.available<100")]
    state = PressureState(thresholds)
    assert signals(state.look(left(memory=50), 0.0)) == [("memory.available", True)]
    found = state.look(left(memory=50), 1.0)
    assert signals(found) == [("memory.available", True), ("memory.available", False)]


def test_what_was_low_is_enough_only_with_the_minimum_reclaim() -> None:
    (threshold,) = parse_hard("memory.available<100", "memory.available=5%")
    state = PressureState([threshold])
    assert state.look(left(memory=120), 0.0) == []
    assert state.look(left(memory=99), 1.0) == [threshold]
    assert state.look(left(memory=149), 2.0) == [threshold]
    assert state.is_met(threshold, left(memory=149))
    assert not state.is_met(threshold, left(memory=150))
    assert state.look(left(memory=150), 3.0) == []
    assert state.look(left(memory=120), 4.0) == []


def test_a_condition_lasts_after_it_was_seen_last() -> None:
    state = PressureState(parse_hard("memory.available<100"), transition=300.0)
    state.look(left(memory=99), 0.0)
    state.look(left(memory=500), 10.0)
    assert list(state.conditions(299.0)) == ["MemoryPressure"]
    assert state.conditions(300.0) == {}
    state.look(left(memory=99), 400.0)
    assert list(state.conditions(699.0)) == ["MemoryPressure"]
