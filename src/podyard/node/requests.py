"""What a Pod takes of a node."""

from __future__ import annotations

from fractions import Fraction

from podyard.manifest.model import Pod
from podyard.manifest.translate.resources import requests_of, together


def pod_requests(pod: Pod) -> dict[str, Fraction]:
    """What a Pod takes of a node, by resource: what its containers ask for together, its overhead, and itself."""
    found = {name: quantity.amount for name, quantity in together(pod, requests_of).items()}
    for name, quantity in pod.spec.overhead.items():
        found[name] = found.get(name, Fraction(0)) + quantity.amount
    return {**found, "pods": Fraction(1)}
