"""Thresholds as a kubelet's flags write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from podyard.errors import InvalidArgument
from podyard.manifest.quantity import Quantity
from podyard.node.housekeeping.settings import Settings
from podyard.node.housekeeping.thresholds import (
    HARD,
    Amount,
    Threshold,
    parse_duration,
    parse_hard,
    parse_soft,
    reserved,
)

MEBI = 1 << 20


def amount(text: str) -> Amount:
    if text.endswith("%"):
        return Amount(share=Fraction(text[:-1]) / 100)
    return Amount(given=Quantity.parse(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("memory.available<100Mi", [("memory.available", "100Mi")]),
        (" memory.available < 1.5Gi , pid.available<100,", [("memory.available", "1.5Gi"), ("pid.available", "100")]),
        ("nodefs.available<10%,nodefs.inodesFree<0.5%", [("nodefs.available", "10%"), ("nodefs.inodesFree", "0.5%")]),
        ("imagefs.available<0%,imagefs.inodesFree<100%", []),
    ],
)
def test_hard_thresholds(text: str, found: list[tuple[str, str]]) -> None:
    assert [(one.signal, one.least, one.grace) for one in parse_hard(text)] == [
        (signal, amount(least), None) for signal, least in found
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("memory.available", "write SIGNAL<VALUE"),
        ("memory.available<", "write SIGNAL<VALUE"),
        ("memory.available>1Gi", "write SIGNAL<VALUE"),
        ("memory.free<1Gi", "'memory.free' is not a signal; there are memory.available, nodefs.available"),
        ("memory.available<1Gi,memory.available<2Gi", "memory.available stands there twice"),
        ("memory.available<1Qi", "'1Qi' is not a quantity"),
        ("memory.available<-1", "-1 is less than 0"),
        ("memory.available<0", "must be more than 0"),
        ("memory.available<101%", "101% is no share"),
        ("memory.available<-1%", "-1% is no share"),
    ],
)
def test_faults(text: str, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault):
        parse_hard(text)


def test_soft_thresholds_have_a_time_each() -> None:
    found = parse_soft(
        "memory.available<1Gi,nodefs.available<20%",
        "memory.available=1m30s,nodefs.available=500ms",
        "memory.available=100Mi,nodefs.available=5%",
    )
    assert found == [
        Threshold(signal="memory.available", least=amount("1Gi"), grace=90.0, reclaim=amount("100Mi")),
        Threshold(signal="nodefs.available", least=amount("20%"), grace=0.5, reclaim=amount("5%")),
    ]
    with pytest.raises(InvalidArgument, match=r"--eviction-soft-grace-period memory\.available=1m30s"):
        parse_soft("memory.available<1Gi", "nodefs.available=1m")
    with pytest.raises(InvalidArgument, match="must be more than 0"):
        parse_soft("memory.available<1Gi", "memory.available=0s")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1h30m", 5400), ("2m0s", 120), ("1.5s", 1.5), ("20ms", 0.02)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("--flag", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1d", "m", "1m 3s", "-1m", "1e9h", "1..5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--flag: .* is not a duration"):
        parse_duration("--flag", text)


def test_what_hard_thresholds_keep_from_pods() -> None:
    thresholds = parse_hard(HARD)
    assert reserved(thresholds, "memory.available", 1000 * MEBI) == 100 * MEBI
    assert reserved(thresholds, "nodefs.available", 1005) == 100
    assert reserved(thresholds, "pid.available", 1000) == 0
    assert reserved(parse_soft("pid.available<10", "pid.available=1m"), "pid.available", 1000) == 0


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="the low one below the high one"):
        Settings(image_high=80, image_low=80)
    with pytest.raises(InvalidArgument, match="must be more than --minimum-image-ttl-duration"):
        Settings(image_longest_age=60.0)
