"""Which of the Pods that are bound to the node it takes: a kubelet's own checks, since a scheduler may know too little,
or there may be none. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from podyard.manifest.model import Pod
from podyard.manifest.quantity import Quantity
from podyard.node.kube.client import JsonObject
from podyard.node.requests import pod_requests
from podyard.node.wanted import Rejection

_ANY = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """What of the Node decides."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    allocatable: Mapping[str, Quantity]


def node_view(node: JsonObject) -> NodeView:
    """The same of a Node object. A quantity that is none counts as nothing."""
    amounts = {}
    for name, amount in node.get("status", {}).get("allocatable", {}).items():
        with suppress(ValueError):
            amounts[name] = Quantity.parse(str(amount))
    return NodeView(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        taints=node.get("spec", {}).get("taints") or (),
        allocatable=amounts,
    )


def rejection(found: JsonObject, pod: Pod, node: NodeView, others: Iterable[Pod]) -> Rejection | None:
    """Why the node does not take a Pod; None when it does. ``found``: the Pod as the server has it; ``others``: those
    that the node has taken."""
    spec = found["spec"]
    taken = list(others)
    return (
        _affinity(spec, node)
        or _taints(spec.get("tolerations") or (), node.taints)
        or no_room(pod, node, taken)
        or _ports(pod, taken)
    )


def _affinity(spec: JsonObject, node: NodeView) -> Rejection | None:
    selector = spec.get("nodeSelector") or {}
    wanted = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    fits = all(node.labels.get(key) == value for key, value in selector.items())
    if fits and (wanted is None or any(_matches(term, node) for term in wanted.get("nodeSelectorTerms") or ())):
        return None
    return Rejection("NodeAffinity", "the node does not match the Pod's node affinity or selector")


def _matches(term: Mapping[str, Any], node: NodeView) -> bool:
    """A term without requirements matches nothing."""
    labels, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not labels and not fields:
        return False
    return all(_meets(one, node.labels) for one in labels) and all(
        _meets(one, {"metadata.name": node.name}) for one in fields
    )


def _meets(requirement: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    value, wanted = values.get(requirement["key"]), list(requirement.get("values") or ())
    operators: dict[str, Callable[[], bool]] = {
        "In": lambda: value in wanted,
        "NotIn": lambda: value not in wanted,
        "Exists": lambda: value is not None,
        "DoesNotExist": lambda: value is None,
        "Gt": lambda: value is not None and int(value) > int(wanted[0]),
        "Lt": lambda: value is not None and int(value) < int(wanted[0]),
    }
    meets = operators.get(requirement.get("operator", ""))
    try:
        return meets is not None and meets()
    except (ValueError, IndexError):
        return False  # Gt and Lt compare numbers


def _taints(tolerations: Sequence[Mapping[str, Any]], taints: Sequence[Mapping[str, str]]) -> Rejection | None:
    """Only NoExecute keeps a Pod from a node that it is bound to: the others are the scheduler's."""
    for taint in taints:
        if taint.get("effect") == "NoExecute" and not any(_tolerates(one, taint) for one in tolerations):
            text = f"{taint['key']}={taint.get('value', '')}:NoExecute"
            return Rejection("TaintToleration", f"the Pod does not tolerate the node's taint {text}")
    return None


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    key, operator = toleration.get("key", ""), toleration.get("operator") or "Equal"
    if toleration.get("effect") not in (None, "", taint["effect"]) or (key and key != taint["key"]):
        return False
    if operator == "Exists":
        return True
    return bool(key) and operator == "Equal" and toleration.get("value", "") == taint.get("value", "")


def no_room(pod: Pod, node: NodeView, others: Sequence[Pod]) -> Rejection | None:
    """Of what there is too little for a Pod beside others; None where there is enough."""
    used: defaultdict[str, Fraction] = defaultdict(Fraction)
    for other in others:
        for name, amount in pod_requests(other).items():
            used[name] += amount
    for name, amount in pod_requests(pod).items():
        there = node.allocatable.get(name, Quantity(Fraction(0)))
        if amount and used[name] + amount > there.amount:
            asked, left = Quantity(amount), Quantity(there.amount - used[name])
            text = f"the Pod asks for {asked} of {name}; of the node's {there} there are {left} left"
            return Rejection(f"OutOf{name}", text)
    return None


def _ports(pod: Pod, others: Sequence[Pod]) -> Rejection | None:
    taken = [(other, port) for other in others for port in _host_ports(other)]
    for protocol, number, ip in _host_ports(pod):
        for other, (other_protocol, other_number, other_ip) in taken:
            same_ip = ip == other_ip or ip in _ANY or other_ip in _ANY
            if (protocol, number) == (other_protocol, other_number) and same_ip:
                return Rejection("NodePorts", f"the node's port {number}/{protocol} is {other.full_name}'s")
    return None


def _host_ports(pod: Pod) -> list[tuple[str, int, str]]:
    return [
        (port.protocol, port.container_port if pod.spec.host_network else port.host_port, port.host_ip)
        for container in pod.all_containers()
        for port in container.ports
        if port.host_port or pod.spec.host_network
    ]
