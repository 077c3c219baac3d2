"""The metrics that a kubelet has always had from cAdvisor: their names, labels, and where each value comes from.

The list is that of KEP-2371 as the conformance suite checks it. The protocol carries whole numbers, so seconds are
whole, too. A metric that the host does not count is described and has no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from podyard.cri import api
from podyard.stats.metrics import container, cpu, kinds, memory, transfer
from podyard.stats.sample import Sample
from podyard.stats.targets import ContainerTarget, SandboxTarget
from podyard.stats.usage import Interface

CONTAINER: tuple[kinds.ContainerMetric, ...] = (
    *cpu.CPU,
    *cpu.PRESSURE,
    *memory.MEMORY,
    *transfer.DISK,
    *container.PROCESSES,
    *container.SPEC,
)

BASE_LABELS = ("id", "image", "namespace", "pod", "container")
"""What every metric has first. ``id`` is that of the CRI."""

SANDBOX_CONTAINER = "POD"
"""What stands for a container's name in metrics of a sandbox, as dashboards expect it."""


def descriptors() -> list[api.MetricDescriptor]:
    """All metrics with their help and labels."""
    known: list[kinds.ContainerMetric | kinds.NetworkMetric] = [*CONTAINER, *transfer.NETWORK]
    return [
        api.MetricDescriptor(name=metric.name, help=metric.help, label_keys=[*BASE_LABELS, *metric.labels])
        for metric in known
    ]


def add_container(
    message: api.ContainerMetrics, target: ContainerTarget, pod: api.PodSandboxMetadata, sample: Sample
) -> None:
    """Put all metrics of a container into ``message``. ``pod``: its sandbox's metadata."""
    base = (target.id, target.image, pod.namespace, pod.name, target.attributes.metadata.name)
    message.container_id = target.id
    for metric in CONTAINER:
        for value, labels in metric.values(sample):
            _add(message.metrics, metric, sample.timestamp, (*base, *labels), value)


def add_sandbox(
    message: api.PodSandboxMetrics, target: SandboxTarget, timestamp: int, interfaces: Sequence[Interface]
) -> None:
    """Put the metrics of a sandbox's network into ``message``. ``timestamp``: nanoseconds since 1970."""
    pod = target.attributes.metadata
    base = (target.id, "", pod.namespace, pod.name, SANDBOX_CONTAINER)
    message.pod_sandbox_id = target.id
    _add(message.metrics, container.LAST_SEEN, timestamp, base, timestamp // kinds.SECOND)
    for metric in transfer.NETWORK:
        for interface in interfaces:
            _add(message.metrics, metric, timestamp, (*base, interface.name), metric.value(interface))


def _add(
    to: RepeatedCompositeFieldContainer[api.Metric],
    metric: kinds.ContainerMetric | kinds.NetworkMetric,
    timestamp: int,
    labels: tuple[str, ...],
    value: int,
) -> None:
    # Made in its place: to copy messages takes as long as to make them.
    to.add(
        name=metric.name,
        timestamp=timestamp,
        metric_type=metric.kind,
        label_values=labels,
        value=api.UInt64Value(value=value),
    )
