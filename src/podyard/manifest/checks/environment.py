"""Faults of environment variables."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.checks.reference import ENVIRONMENT_FIELDS, check_field, check_object_name, check_resource
from podyard.manifest.model import Container, EnvFrom, Pod, ValueFrom
from podyard.manifest.names import data_key_fault, variable_fault
from podyard.manifest.problems import Problem


def check_environment(pod: Pod, container: Container, path: str) -> Iterator[Problem]:
    """Faults of a container's variables."""
    for index, variable in enumerate(container.env):
        where = f"{path}.env[{index}]"
        if fault := variable_fault(variable.name):
            yield Problem(0, f"{where}.name", fault)
        if "\0" in variable.value:
            yield Problem(0, f"{where}.value", "holds a NUL character")
        if variable.value_from is not None:
            if variable.value:
                yield Problem(0, f"{where}.valueFrom", "cannot go with a value")
            yield from _check_source(pod, variable.value_from, f"{where}.valueFrom")
    for index, source in enumerate(container.env_from):
        yield from _check_env_from(source, f"{path}.envFrom[{index}]")


def _check_source(pod: Pod, source: ValueFrom, path: str) -> Iterator[Problem]:
    if len(source.kinds) != 1:
        yield Problem(0, path, "needs one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef")
    if source.field_ref is not None:
        yield from check_field(source.field_ref, ENVIRONMENT_FIELDS, f"{path}.fieldRef")
    if source.resource_field_ref is not None:
        yield from check_resource(pod, source.resource_field_ref, f"{path}.resourceFieldRef")
    for field, key in (("configMapKeyRef", source.config_map_key_ref), ("secretKeyRef", source.secret_key_ref)):
        if key is not None:
            yield from check_object_name(key.name, f"{path}.{field}.name")
            if fault := data_key_fault(key.key):
                yield Problem(0, f"{path}.{field}.key", fault)


def _check_env_from(source: EnvFrom, path: str) -> Iterator[Problem]:
    if (source.config_map_ref is None) == (source.secret_ref is None):
        yield Problem(0, path, "needs one of configMapRef and secretRef")
    if source.prefix and (fault := variable_fault(source.prefix)):
        yield Problem(0, f"{path}.prefix", fault)
    for field, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
        if ref is not None:
            yield from check_object_name(ref.name, f"{path}.{field}.name")
