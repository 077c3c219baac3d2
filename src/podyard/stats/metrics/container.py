"""What a container is: its processes, what it is allowed, when it was there."""

from __future__ import annotations

from podyard.cri import api
from podyard.stats.metrics import kinds

LAST_SEEN = kinds.ContainerMetric(
    "container_last_seen",
    "When the container was last seen, in seconds since 1970.",
    api.GAUGE,
    kinds.one(lambda sample: sample.timestamp // kinds.SECOND),
)

PROCESSES = (
    kinds.ContainerMetric("container_processes", "Processes.", api.GAUGE, kinds.one(lambda sample: sample.processes)),
    kinds.ContainerMetric(
        "container_threads",
        "Threads.",
        api.GAUGE,
        kinds.one(lambda sample: None if sample.tasks is None else sample.tasks.threads),
    ),
    kinds.ContainerMetric(
        "container_threads_max",
        "Threads that the container may have; 0: any number.",
        api.GAUGE,
        kinds.one(lambda sample: None if sample.tasks is None else sample.tasks.threads_limit or 0),
    ),
    kinds.ContainerMetric(
        "container_file_descriptors", "Open descriptors.", api.GAUGE, kinds.one(lambda sample: sample.descriptors.all)
    ),
    kinds.ContainerMetric(
        "container_sockets", "Open sockets.", api.GAUGE, kinds.one(lambda sample: sample.descriptors.sockets)
    ),
    kinds.ContainerMetric(
        "container_ulimits_soft",
        "Soft limits of the first process; one that is unlimited has no value.",
        api.GAUGE,
        lambda sample: ((value, (name,)) for name, value in sample.soft_limits.items()),
        ("ulimit",),
    ),
)

SPEC = (
    kinds.ContainerMetric(
        "container_spec_cpu_period",
        "Period of the CPU quota, in microseconds.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.cpu_period),
    ),
    kinds.ContainerMetric(
        "container_spec_cpu_quota",
        "CPU time that may be used in each period, in microseconds. No value: no limit.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.cpu_quota),
    ),
    kinds.ContainerMetric(
        "container_spec_cpu_shares",
        "Share of the CPU in competition with others.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.cpu_shares),
    ),
    kinds.ContainerMetric(
        "container_spec_memory_limit_bytes",
        "Memory that may be used, in bytes; 0: no limit.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.memory or 0),
    ),
    kinds.ContainerMetric(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is left to the container when it becomes scarce, in bytes; 0: none.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.memory_reservation or 0),
    ),
    kinds.ContainerMetric(
        "container_spec_memory_swap_limit_bytes",
        "Swap that may be used, with cgroup v1 together with memory, in bytes; 0: no limit, or none with cgroup v2.",
        api.GAUGE,
        kinds.one(lambda sample: sample.limits.memory_and_swap or 0),
    ),
    kinds.ContainerMetric(
        "container_start_time_seconds",
        "When the container was started, in seconds since 1970.",
        api.GAUGE,
        kinds.one(lambda sample: sample.started_at // kinds.SECOND if sample.started_at else None),
    ),
    LAST_SEEN,
)
