"""Limits as requests give and change them. Pure functions: what a host does about them is in oci/resources.py."""

from __future__ import annotations

from podyard.cri import api
from podyard.model.records import Container

_PLAIN = (
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "memory_limit_in_bytes",
    "oom_score_adj",
    "cpuset_cpus",
    "cpuset_mems",
    "memory_swap_limit_in_bytes",
)


def effective(record: Container, config: api.ContainerConfig) -> api.LinuxContainerResources:
    """What holds for a container now: the last change, or what it was made with."""
    if record.resources is None:
        return config.linux.resources
    return api.LinuxContainerResources.FromString(record.resources)


def merged(now: api.LinuxContainerResources, wanted: api.LinuxContainerResources) -> api.LinuxContainerResources:
    """Limits after a change: what is 0 or empty in ``wanted`` stays; page sizes and unified files count one by one.

    Where the limit of memory and swap together is that of memory, there is no swap: it goes with the memory's.
    """
    found = api.LinuxContainerResources()
    found.CopyFrom(now)
    if wanted.memory_limit_in_bytes and 0 < now.memory_swap_limit_in_bytes == now.memory_limit_in_bytes:
        found.memory_swap_limit_in_bytes = wanted.memory_limit_in_bytes
    for field in _PLAIN:
        value = getattr(wanted, field)
        if value:
            setattr(found, field, value)
    found.unified.update(wanted.unified)
    pages = {limit.page_size: limit for limit in (*now.hugepage_limits, *wanted.hugepage_limits)}
    del found.hugepage_limits[:]
    found.hugepage_limits.extend(pages.values())
    return found


def together(one: api.LinuxContainerResources, other: api.LinuxContainerResources) -> api.LinuxContainerResources:
    """A pod's limits: those of its containers together, and the overhead of the pod itself.

    What is not limited for the containers (0, -1) is not for the pod. Quotas are added as shares of their periods.
    """
    found = api.LinuxContainerResources()
    found.CopyFrom(one)
    for field in ("cpu_shares", "memory_limit_in_bytes", "memory_swap_limit_in_bytes"):
        if getattr(one, field) > 0:
            setattr(found, field, getattr(one, field) + max(getattr(other, field), 0))
    if one.cpu_quota > 0 and other.cpu_quota > 0:
        period, others = one.cpu_period or DEFAULT_PERIOD, other.cpu_period or DEFAULT_PERIOD
        found.cpu_quota += other.cpu_quota * period // others
    return found


DEFAULT_PERIOD = 100_000
"""Microseconds of a CPU period where nobody says otherwise (kernel documentation, sched-bwc)."""
