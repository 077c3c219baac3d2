"""The metrics that a kubelet has always had from cAdvisor: their names, labels, and where each value comes from.

The list is that of KEP-2371 as the conformance suite checks it. The protocol carries whole numbers, so seconds are
whole, too. A metric that the host does not count is described and has no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def container_metrics(target: ContainerTarget, pod: api.PodSandboxMetadata, sample: Sample) -> api.ContainerMetrics:
    """All metrics of a container; ``pod``: its sandbox's."""
    base = (target.id, target.image, pod.namespace, pod.name, target.attributes.metadata.name)
    message = api.ContainerMetrics(container_id=target.id)
    message.metrics.extend(
        _metric(metric, sample.timestamp, (*base, *labels), value)
        for metric in CONTAINER
        for value, labels in metric.values(sample)
    )
    return message


def sandbox_metrics(
    target: SandboxTarget, timestamp: int, interfaces: Sequence[Interface], containers: Iterable[api.ContainerMetrics]
) -> api.PodSandboxMetrics:
    """The metrics of a sandbox's network, and those of its containers."""
    pod = target.attributes.metadata
    base = (target.id, "", pod.namespace, pod.name, SANDBOX_CONTAINER)
    message = api.PodSandboxMetrics(pod_sandbox_id=target.id, container_metrics=containers)
    message.metrics.append(_metric(container.LAST_SEEN, timestamp, base, timestamp // kinds.SECOND))
    message.metrics.extend(
        _metric(metric, timestamp, (*base, interface.name), metric.value(interface))
        for metric in transfer.NETWORK
        for interface in interfaces
    )
    return message


def _metric(
    metric: kinds.ContainerMetric | kinds.NetworkMetric, timestamp: int, labels: tuple[str, ...], value: int
) -> api.Metric:
    return api.Metric(
        name=metric.name,
        timestamp=timestamp,
        metric_type=metric.kind,
        label_values=labels,
        value=api.UInt64Value(value=value),
    )
