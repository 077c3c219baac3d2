"""What a reference to the Pod itself stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from podyard.manifest.checks.reference import MAP_FIELD
from podyard.manifest.checks.resources import STORAGE
from podyard.manifest.model import Container, FieldRef, Pod, ResourceFieldRef
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.resources import requests_of

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def field_value(pod: Pod, field: FieldRef, host: HostFacts, ips: Sequence[str]) -> str:
    """The text of a field. ``ips``: the Pod's addresses."""
    labels, annotations = pod.metadata.labels, pod.metadata.annotations
    if match := MAP_FIELD.fullmatch(field.field_path):
        return (labels if match.group(1) == "labels" else annotations).get(match.group(2), "")
    match field.field_path:
        case "metadata.labels":
            return _lines(labels)
        case "metadata.annotations":
            return _lines(annotations)
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


def resource_value(container: Container, source: ResourceFieldRef, host: HostFacts) -> str:
    """A container's amount in units of the divisor, rounded up; a limit that is not set is what the node has."""
    which, _, name = source.resource.partition(".")
    amounts = container.resources.limits if which == "limits" else requests_of(container)
    if name in amounts:
        amount = amounts[name].amount
    else:
        node = {"cpu": host.cpus, "memory": host.memory, STORAGE: host.storage} if which == "limits" else {}
        amount = Fraction(node.get(name, 0))
    divisor = source.divisor.amount if source.divisor is not None and source.divisor.amount else Fraction(1)
    return str(math.ceil(amount / divisor))


def _lines(values: Mapping[str, str]) -> str:
    """``key="value"`` in each line, by key, escaped as kubelets do it: as Go writes a string."""
    return "\n".join(f'{key}="{_escaped(values[key])}"' for key in sorted(values))


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter) or _printable(letter) for letter in text)


def _printable(letter: str) -> str:
    if letter.isprintable():
        return letter
    code = ord(letter)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
