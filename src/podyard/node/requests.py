"""What a Pod takes of a node."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

from podyard.manifest.model import Pod, is_sidecar
from podyard.manifest.translate.resources import requests_of


def pod_requests(pod: Pod) -> dict[str, Fraction]:
    """What a Pod takes of a node (Kubernetes, "Sidecar Containers": resource sharing within containers).

    Containers and sidecars run together; init containers one after the other, beside the sidecars before them.
    """
    beside: defaultdict[str, Fraction] = defaultdict(Fraction)
    peak: defaultdict[str, Fraction] = defaultdict(Fraction)
    for container in pod.spec.init_containers:
        for name, quantity in requests_of(container).items():
            peak[name] = max(peak[name], beside[name] + quantity.amount)
            if is_sidecar(container):
                beside[name] += quantity.amount
    for container in pod.spec.containers:
        for name, quantity in requests_of(container).items():
            beside[name] += quantity.amount
    found = {name: max(beside[name], peak[name]) for name in {*beside, *peak}}
    return {**found, "pods": Fraction(1)}
