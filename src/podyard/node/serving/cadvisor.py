"""``/metrics/cadvisor``: the metrics that the runtime has of its Pods and containers. A pure function.

Source: KEP-2371, by which a kubelet asks the runtime for what cAdvisor counted before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from podyard.cri import api
from podyard.model.metric import Metric


def cadvisor_metrics(
    descriptors: Sequence[api.MetricDescriptor], pods: Sequence[api.PodSandboxMetrics]
) -> Iterator[Metric]:
    """What the runtime told; each kind in one row. A metric without its descriptor, or with another number of labels,
    is left out: nobody could tell what it means."""
    known = {one.name: one for one in descriptors}
    found: defaultdict[str, list[api.Metric]] = defaultdict(list)
    for pod in pods:
        for metrics in (pod.metrics, *(container.metrics for container in pod.container_metrics)):
            for metric in metrics:
                found[metric.name].append(metric)
    for name in sorted(found.keys() & known.keys()):
        keys = known[name].label_keys
        for metric in found[name]:
            if len(metric.label_values) == len(keys):
                yield Metric(
                    name,
                    "gauge" if metric.metric_type == api.GAUGE else "counter",
                    known[name].help,
                    float(metric.value.value),
                    tuple(zip(keys, metric.label_values, strict=True)),
                    metric.timestamp // 10**6 or None,
                )
