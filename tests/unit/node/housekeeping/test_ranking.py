"""Which Pod is evicted first, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.support.pressure import candidate, pod_of

from podyard.node.housekeeping.ranking import binary, is_critical, message_of, ranked, refusal
from podyard.node.housekeeping.signals import Observation
from podyard.node.housekeeping.thresholds import parse_hard

MEBI = 1 << 20


@pytest.mark.parametrize(
    ("pods", "order"),
    [
        # name: used, requested, priority
        ({"small": (10, 0, None), "large": (20, 0, None)}, "large small"),
        ({"modest": (90, 100, None), "greedy": (11, 10, None)}, "greedy modest"),
        ({"modest": (90, 100, 1), "greedy": (11, 10, 900)}, "greedy modest"),
        ({"low": (11, 10, -5), "zero": (500, 0, None), "high": (900, 0, 7)}, "low zero high"),
        ({"near": (50, 60, None), "far": (50, 900, None)}, "near far"),
        ({"exact": (10, 10, None), "over": (11, 10, None)}, "over exact"),
        ({"critical": (900, 0, 2_000_000_000), "other": (1, 0, 1_999_999_999)}, "other"),
        ({}, ""),
    ],
)
def test_order(pods: Mapping[str, tuple[int, int, int | None]], order: str) -> None:
    found = ranked(
        [
            candidate(name, used, requested, "" if priority is None else f"priority: {priority}")
            for name, (used, requested, priority) in pods.items()
        ]
    )
    assert [one.view.name for one in found] == order.split()


@pytest.mark.parametrize(
    ("spec", "critical"),
    [
        ("", False),
        ("priority: 1000", False),
        ("priority: 2000001000", True),
        ("priorityClassName: high", False),
        ("priorityClassName: system-node-critical", True),
        ("priorityClassName: system-cluster-critical", True),
    ],
)
def test_who_is_critical(spec: str, critical: bool) -> None:
    assert is_critical(pod_of("a", spec)) is critical


def test_the_message_is_a_kubelets() -> None:
    (threshold,) = parse_hard("memory.available<100Mi")
    victim = candidate("web", 0, containers={"main": (200 * MEBI, 10 * MEBI), "side": (5, 10)})
    assert message_of(threshold, Observation(66212 << 10, 1 << 30), victim) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 66212Ki. "
        "Container main was using 200Mi, request is 10Mi, has larger consumption of memory. "
    )
    (threshold,) = parse_hard("nodefs.inodesFree<5%")
    assert message_of(threshold, Observation(49, 1001), candidate("web", 0)) == (
        "The node was low on resource: inodes. Threshold quantity: 50, available: 49. "
    )


@pytest.mark.parametrize(
    ("conditions", "best_effort", "spec", "refused"),
    [
        ([], True, "", ""),
        (["MemoryPressure"], True, "", "The node had condition: [MemoryPressure]. "),
        (["MemoryPressure"], False, "", ""),
        (["DiskPressure"], False, "", "The node had condition: [DiskPressure]. "),
        (["PIDPressure"], False, "", "The node had condition: [PIDPressure]. "),
        (["MemoryPressure", "DiskPressure"], False, "", "The node had condition: [MemoryPressure DiskPressure]. "),
        (["DiskPressure"], True, "priorityClassName: system-node-critical", ""),
    ],
)
def test_who_is_refused(conditions: list[str], best_effort: bool, spec: str, refused: str) -> None:
    assert refusal(pod_of("a", spec), conditions, best_effort) == refused


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1Ki"), (1536 << 10, "1536Ki"), (3 << 30, "3Gi")]
)
def test_amounts(amount: int, text: str) -> None:
    assert binary(amount) == text
