"""Environment variables, and ``$(NAME)`` in commands, arguments and values (Kubernetes documentation, "Define
Dependent Environment Variables")."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from podyard.manifest.checks.environment import MAP_FIELD
from podyard.manifest.model import Container, FieldRef, Pod, ResourceFieldRef
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.resources import requests_of

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with each ``$(NAME)`` of a known variable replaced. ``$$`` is one ``$``; an unknown name stays."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return variables.get(match.group(2), match.group(0))

    return _REFERENCE.sub(value, text)


def environment(pod: Pod, container: Container, host: HostFacts, ips: Sequence[str]) -> dict[str, str]:
    """A container's variables in the manifest's order. A value may name those before it. ``ips``: the Pod's."""
    variables: dict[str, str] = {}
    for variable in container.env:
        source = variable.value_from
        if source is None:
            value = expand(variable.value, variables)
        elif source.field_ref is not None:
            value = _field(pod, source.field_ref, host, ips)
        else:
            assert source.resource_field_ref is not None  # one of the two, says checks.environment
            value = _resource(pod, container, source.resource_field_ref, host)
        variables[variable.name] = value
    return variables


def _field(pod: Pod, field: FieldRef, host: HostFacts, ips: Sequence[str]) -> str:
    if match := MAP_FIELD.fullmatch(field.field_path):
        values = pod.metadata.labels if match.group(1) == "labels" else pod.metadata.annotations
        return values.get(match.group(2), "")
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name or host.name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": next(iter(host.ips), ""),
        "status.hostIPs": ",".join(host.ips),
        "status.podIP": next(iter(ips), ""),
        "status.podIPs": ",".join(ips),
    }[field.field_path]


def _resource(pod: Pod, container: Container, source: ResourceFieldRef, host: HostFacts) -> str:
    """The amount in units of the divisor, rounded up; a limit that is not set is what the node has."""
    target = pod.container(source.container_name) if source.container_name else container
    which, _, name = source.resource.partition(".")
    amounts = target.resources.limits if which == "limits" else requests_of(target)
    if name in amounts:
        amount = amounts[name].amount
    elif which == "limits":
        amount = Fraction(host.cpus if name == "cpu" else host.memory)
    else:
        amount = Fraction(0)
    divisor = source.divisor.amount if source.divisor is not None and source.divisor.amount else Fraction(1)
    return str(math.ceil(amount / divisor))
