"""Which Pod is evicted first, and what it is told. Pure functions.

Source: Kubernetes documentation, "Node-pressure Eviction": Pod selection for kubelet eviction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podyard.manifest.model import Pod
from podyard.node.housekeeping.signals import Observation
from podyard.node.housekeeping.thresholds import Signal, Threshold
from podyard.pods import PodView

SYSTEM_CRITICAL = 2_000_000_000
"""The priority from which on a Pod is critical for its node or its cluster."""
_CRITICAL_CLASSES = ("system-node-critical", "system-cluster-critical")
_RESOURCES: Mapping[Signal, str] = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A Pod that runs. Amounts: of the resource that is short; bytes, inodes or processes."""

    pod: Pod
    view: PodView
    used: int = 0
    requested: int = 0
    containers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """What each uses, and asked for."""


def resource_of(signal: Signal) -> str:
    """What is short, in Kubernetes' words."""
    return _RESOURCES[signal]


def is_critical(pod: Pod) -> bool:
    """Whether the node or the cluster needs it: such a Pod is not evicted."""
    return pod.spec.priority_class_name in _CRITICAL_CLASSES or priority_of(pod) >= SYSTEM_CRITICAL


def priority_of(pod: Pod) -> int:
    """Pods that say nothing have priority 0."""
    return pod.spec.priority or 0


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In the order in which they are evicted: those that use more than they asked for before others, then by priority,
    then those that exceed their request most. Critical ones are left out."""
    return sorted((one for one in candidates if not is_critical(one.pod)), key=_order)


def _order(one: Candidate) -> tuple[bool, int, int]:
    return one.used <= one.requested, priority_of(one.pod), one.requested - one.used


def message_of(threshold: Threshold, found: Observation, victim: Candidate) -> str:
    """Why it is evicted, in a kubelet's words."""
    resource, limit = resource_of(threshold.signal), threshold.least.of(found.capacity)
    texts = [
        f"The node was low on resource: {resource}. ",
        f"Threshold quantity: {binary(limit)}, available: {binary(found.available)}. ",
    ]
    for name, (used, requested) in victim.containers.items():
        if used > requested:
            texts.append(
                f"Container {name} was using {binary(used)}, request is {binary(requested)}, has larger consumption "
                f"of {resource}. "
            )
    return "".join(texts)


def refusal(pod: Pod, conditions: Sequence[str], best_effort: bool) -> str:
    """Why a node with these conditions takes no such Pod, in a kubelet's words; "" where it does."""
    if not conditions or is_critical(pod):
        return ""
    if list(conditions) == ["MemoryPressure"] and not best_effort:
        return ""
    return f"The node had condition: [{' '.join(conditions)}]. "


def binary(amount: int) -> str:
    """An amount as Kubernetes writes it: with the largest binary unit of which it is a whole number."""
    for power, unit in ((60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if amount and amount % (1 << power) == 0:
            return f"{amount >> power}{unit}"
    return str(amount)
