"""The runtime's own metrics for Prometheus."""

from __future__ import annotations

from podyard.cri import api
from podyard.metrics import text
from podyard.node.serving.cadvisor import cadvisor_metrics


def metric(name: str, *labels: str, value: int = 1, gauge: bool = False, at: int = 0) -> api.Metric:
    return api.Metric(
        name=name,
        label_values=labels,
        value=api.UInt64Value(value=value),
        metric_type=api.GAUGE if gauge else api.COUNTER,
        timestamp=at,
    )


def test_each_kind_stands_in_one_row_with_its_labels() -> None:
    descriptors = [
        api.MetricDescriptor(name="container_cpu_usage_seconds_total", help="Time.", label_keys=["pod", "cpu"]),
        api.MetricDescriptor(name="container_tasks", help="Tasks.", label_keys=["pod"]),
        api.MetricDescriptor(name="container_unused", help="Nothing."),
    ]

    def pod(name: str) -> api.PodSandboxMetrics:
        mine = [
            metric("container_cpu_usage_seconds_total", name, "0", value=5, at=2_000_000_000),
            metric("container_tasks", name, gauge=True),
            metric("container_tasks", name, "one too many"),
            metric("nobody_described_this"),
        ]
        return api.PodSandboxMetrics(container_metrics=[api.ContainerMetrics(metrics=mine)])

    network = api.PodSandboxMetrics(metrics=[metric("container_tasks", "c", value=7, gauge=True)])
    assert text(cadvisor_metrics(descriptors, [pod("a"), pod("b"), network])).splitlines() == [
        "# HELP container_cpu_usage_seconds_total Time.",
        "# TYPE container_cpu_usage_seconds_total counter",
        'container_cpu_usage_seconds_total{pod="a",cpu="0"} 5 2000',
        'container_cpu_usage_seconds_total{pod="b",cpu="0"} 5 2000',
        "# HELP container_tasks Tasks.",
        "# TYPE container_tasks gauge",
        'container_tasks{pod="a"} 1',
        'container_tasks{pod="b"} 1',
        'container_tasks{pod="c"} 7',
    ]
