"""What the types of ``model`` cannot say about an object. Pure functions that yield Problems whose line is still 0."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.checks.container import check_container
from podyard.manifest.checks.document import check_document
from podyard.manifest.checks.pod import check_metadata, check_names, check_spec, with_paths
from podyard.manifest.checks.ports import check_host_ports
from podyard.manifest.checks.security import check_pod_security
from podyard.manifest.checks.volumes import check_volumes
from podyard.manifest.model import Pod
from podyard.manifest.problems import Problem

__all__ = ["check_document", "check_pod"]


def check_pod(pod: Pod) -> Iterator[Problem]:
    """All faults of a Pod, in no special order."""
    yield from check_metadata(pod.metadata)
    yield from check_spec(pod.spec)
    yield from check_pod_security(pod.spec)
    yield from check_volumes(pod)
    yield from check_names(pod.spec)
    yield from check_host_ports(pod.spec)
    for path, container in with_paths(pod.spec):
        yield from check_container(pod, container, path)
