"""Faults of references to the Pod's fields and containers' resources."""

from __future__ import annotations

import re
from collections.abc import Iterator

from podyard.manifest.model import FieldRef, Pod, ResourceFieldRef
from podyard.manifest.names import key_fault, subdomain_fault
from podyard.manifest.problems import Problem

FIELDS = frozenset({"metadata.name", "metadata.namespace", "metadata.uid"})
ENVIRONMENT_FIELDS = FIELDS | {
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
}
VOLUME_FIELDS = FIELDS | {"metadata.labels", "metadata.annotations"}
MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_RESOURCE = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)")


def check_field(field: FieldRef, known: frozenset[str], path: str) -> Iterator[Problem]:
    """Faults of a reference to one of the ``known`` fields, a label or an annotation."""
    if field.api_version != "v1":
        yield Problem(0, f"{path}.apiVersion", f"{field.api_version!r} is not v1")
    if field.field_path in known:
        return
    match = MAP_FIELD.fullmatch(field.field_path)
    if match is None:
        names = ", ".join([*sorted(known), "metadata.labels['KEY']", "metadata.annotations['KEY']"])
        yield Problem(0, f"{path}.fieldPath", f"{field.field_path!r} is not one of {names}")
    elif fault := key_fault(match.group(2)):
        yield Problem(0, f"{path}.fieldPath", fault)


def check_resource(pod: Pod, resource: ResourceFieldRef, path: str) -> Iterator[Problem]:
    """Faults of a reference to a container's resource."""
    if not _RESOURCE.fullmatch(resource.resource):
        text = f"{resource.resource!r} is not limits or requests of cpu, memory, ephemeral-storage or hugepages-SIZE"
        yield Problem(0, f"{path}.resource", text)
    names = {container.name for container in pod.all_containers()}
    if resource.container_name and resource.container_name not in names:
        yield Problem(0, f"{path}.containerName", f"no container is called {resource.container_name!r}")
    if resource.divisor is not None and resource.divisor.amount < 0:
        yield Problem(0, f"{path}.divisor", "must be 0 (which means 1) or more")


def check_object_name(name: str, path: str) -> Iterator[Problem]:
    """Faults of the name of a ConfigMap or Secret."""
    if fault := subdomain_fault(name):
        yield Problem(0, path, fault)
