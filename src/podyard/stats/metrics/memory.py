"""Memory."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.cri import api
from podyard.stats.metrics import kinds
from podyard.stats.sample import Sample


def _failures(sample: Sample) -> Iterator[kinds.Value]:
    memory = sample.memory
    if memory is not None:
        yield memory.own_page_faults, ("pgfault", "container")
        yield memory.page_faults, ("pgfault", "hierarchy")
        yield memory.own_major_page_faults, ("pgmajfault", "container")
        yield memory.major_page_faults, ("pgmajfault", "hierarchy")


def _peaks(sample: Sample) -> Iterator[kinds.Value]:
    for pages in sample.huge_pages:
        if pages.peak is not None:
            yield pages.peak, (pages.size,)


MEMORY = (
    kinds.ContainerMetric(
        "container_memory_usage_bytes",
        "Memory in use, whatever was cached included, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.usage),
    ),
    kinds.ContainerMetric(
        "container_memory_working_set_bytes",
        "Memory in use that cannot be given back easily, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.working_set),
    ),
    kinds.ContainerMetric(
        "container_memory_max_usage_bytes",
        "The most memory that was ever in use, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.peak),
    ),
    kinds.ContainerMetric(
        "container_memory_rss",
        "Anonymous memory, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.rss),
    ),
    kinds.ContainerMetric(
        "container_memory_cache",
        "Page cache, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.cache),
    ),
    kinds.ContainerMetric(
        "container_memory_mapped_file",
        "Memory that maps files, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.mapped_file),
    ),
    kinds.ContainerMetric(
        "container_memory_kernel_usage",
        "Memory that the kernel uses for the container, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.kernel),
    ),
    kinds.ContainerMetric(
        "container_memory_swap",
        "Swap in use, in bytes.",
        api.GAUGE,
        kinds.memory(lambda memory: memory.swap),
    ),
    kinds.ContainerMetric(
        "container_memory_failcnt",
        "How often the memory limit was reached.",
        api.COUNTER,
        kinds.memory(lambda memory: memory.limit_hits),
    ),
    kinds.ContainerMetric(
        "container_memory_failures_total",
        "Page faults.",
        api.COUNTER,
        _failures,
        ("failure_type", "scope"),
    ),
    kinds.ContainerMetric(
        "container_oom_events_total",
        "Processes that the kernel killed for want of memory.",
        api.COUNTER,
        kinds.one(lambda sample: sample.oom_kills),
    ),
    kinds.ContainerMetric(
        "container_hugetlb_usage_bytes",
        "Huge pages in use, in bytes.",
        api.GAUGE,
        lambda sample: ((pages.usage, (pages.size,)) for pages in sample.huge_pages),
        ("pagesize",),
    ),
    kinds.ContainerMetric(
        "container_hugetlb_max_usage_bytes",
        "The most huge pages that were ever in use, in bytes.",
        api.GAUGE,
        _peaks,
        ("pagesize",),
    ),
)
