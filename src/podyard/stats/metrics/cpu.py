"""CPU time, and the time lost waiting for the CPU, for memory, for input and output."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.cri import api
from podyard.stats.metrics import kinds
from podyard.stats.sample import Sample


def _cpu_usage(sample: Sample) -> Iterator[kinds.Value]:
    if sample.cpu is not None:
        yield sample.cpu.usage // kinds.SECOND, ("total",)


CPU = (
    kinds.ContainerMetric(
        "container_cpu_usage_seconds_total",
        "CPU time used, in seconds.",
        api.COUNTER,
        _cpu_usage,
        ("cpu",),
    ),
    kinds.ContainerMetric(
        "container_cpu_user_seconds_total",
        "CPU time used in user mode, in seconds.",
        api.COUNTER,
        kinds.one(lambda sample: None if sample.cpu is None else sample.cpu.user // kinds.SECOND),
    ),
    kinds.ContainerMetric(
        "container_cpu_system_seconds_total",
        "CPU time used in kernel mode, in seconds.",
        api.COUNTER,
        kinds.one(lambda sample: None if sample.cpu is None else sample.cpu.system // kinds.SECOND),
    ),
    kinds.ContainerMetric(
        "container_cpu_cfs_periods_total",
        "Periods of the CPU quota that have passed.",
        api.COUNTER,
        kinds.throttling(lambda throttling: throttling.periods),
    ),
    kinds.ContainerMetric(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the container was held back by its CPU quota.",
        api.COUNTER,
        kinds.throttling(lambda throttling: throttling.throttled_periods),
    ),
    kinds.ContainerMetric(
        "container_cpu_cfs_throttled_seconds_total",
        "Time for which the container was held back by its CPU quota, in seconds.",
        api.COUNTER,
        kinds.throttling(lambda throttling: throttling.throttled_time // kinds.SECOND),
    ),
)

PRESSURE = tuple(
    kinds.ContainerMetric(
        f"container_pressure_{resource}_{word}_seconds_total",
        f"Time in which {who} waited for {what}, in seconds.",
        api.COUNTER,
        kinds.pressure(resource, read),
    )
    for resource, what in (("cpu", "the CPU"), ("memory", "memory"), ("io", "input or output"))
    for word, who, read in (
        ("stalled", "all tasks of the container", lambda pressure: pressure.full.total),
        ("waiting", "some task of the container", lambda pressure: pressure.some.total),
    )
)
