"""Faults of environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from podyard.manifest.decode import NOT_SUPPORTED
from podyard.manifest.model import Container, FieldRef, Pod, ResourceFieldRef
from podyard.manifest.names import key_fault, variable_fault
from podyard.manifest.problems import Problem

FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
RESOURCES = frozenset({"limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
_OTHER_RESOURCES = re.compile(r"(limits|requests)\.(ephemeral-storage|hugepages-.+)")


def check_environment(pod: Pod, container: Container, path: str) -> Iterator[Problem]:
    """Faults of a container's variables."""
    for index, variable in enumerate(container.env):
        where = f"{path}.env[{index}]"
        if fault := variable_fault(variable.name):
            yield Problem(0, f"{where}.name", fault)
        if "\0" in variable.value:
            yield Problem(0, f"{where}.value", "holds a NUL character")
        if variable.value_from is None:
            continue
        field, resource = variable.value_from.field_ref, variable.value_from.resource_field_ref
        if variable.value:
            yield Problem(0, f"{where}.valueFrom", "cannot go with a value")
        if (field is None) == (resource is None):
            yield Problem(0, f"{where}.valueFrom", "needs one of fieldRef and resourceFieldRef")
        if field is not None:
            yield from _check_field(field, f"{where}.valueFrom.fieldRef")
        if resource is not None:
            yield from _check_resource(pod, resource, f"{where}.valueFrom.resourceFieldRef")


def _check_field(field: FieldRef, path: str) -> Iterator[Problem]:
    if field.api_version != "v1":
        yield Problem(0, f"{path}.apiVersion", f"{field.api_version!r} is not v1")
    if field.field_path in FIELDS:
        return
    match = MAP_FIELD.fullmatch(field.field_path)
    if match is None:
        known = ", ".join([*sorted(FIELDS), "metadata.labels['KEY']", "metadata.annotations['KEY']"])
        yield Problem(0, f"{path}.fieldPath", f"{field.field_path!r} is not one of {known}")
    elif fault := key_fault(match.group(2)):
        yield Problem(0, f"{path}.fieldPath", fault)


def _check_resource(pod: Pod, resource: ResourceFieldRef, path: str) -> Iterator[Problem]:
    if _OTHER_RESOURCES.fullmatch(resource.resource):
        yield Problem(0, f"{path}.resource", NOT_SUPPORTED, unsupported=True)
    elif resource.resource not in RESOURCES:
        text = f"{resource.resource!r} is not one of {', '.join(sorted(RESOURCES))}"
        yield Problem(0, f"{path}.resource", text)
    names = {container.name for container in pod.all_containers()}
    if resource.container_name and resource.container_name not in names:
        yield Problem(0, f"{path}.containerName", f"no container is called {resource.container_name!r}")
    if resource.divisor is not None and resource.divisor.amount < 0:
        yield Problem(0, f"{path}.divisor", "must be 0 (which means 1) or more")
