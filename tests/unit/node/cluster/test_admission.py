"""Which Pods a node takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.manifest.quantity import Quantity
from podyard.node.cluster.admission import NodeView, node_view, rejection
from podyard.node.requests import pod_requests

NODE: dict[str, Any] = {
    "metadata": {"name": "n", "labels": {"disk": "fast", "cores": "8"}},
    "spec": {"taints": [{"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "c", "effect": "NoSchedule"}]},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2", "odd": "nonsense"}},
}
HUGE = {"hugepages-2Mi": "2Mi", "memory": "1Mi"}
TOLERANT: list[dict[str, Any]] = [{"key": "a", "operator": "Exists"}]


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", **fields}


def asks(cpu: str, **fields: Any) -> dict[str, Any]:
    return container(resources={"requests": {"cpu": cpu}}, **fields)


def found(**spec: Any) -> dict[str, Any]:
    spec = {"tolerations": TOLERANT, "containers": [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


def pod_of(given: dict[str, Any]) -> Pod:
    (pod,) = parse(msgspec.json.encode(given), "x").pods
    return pod


def refused(given: dict[str, Any], *others: dict[str, Any], node: NodeView | None = None) -> str:
    """The reason; "" for a Pod that is taken."""
    found = rejection(given, pod_of(given), node or node_view(NODE), [pod_of(other) for other in others])
    return found.reason if found is not None else ""


def requires(*expressions: tuple[str, str, list[str]], fields: bool = False) -> dict[str, Any]:
    key = "matchFields" if fields else "matchExpressions"
    term = {key: [{"key": name, "operator": operator, "values": values} for name, operator, values in expressions]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, ""),
        ({"nodeSelector": {"disk": "fast"}}, ""),
        ({"nodeSelector": {"disk": "slow"}}, "NodeAffinity"),
        ({"nodeSelector": {"zone": "z"}}, "NodeAffinity"),
        (requires(("disk", "In", ["slow", "fast"])), ""),
        (requires(("disk", "In", ["slow"])), "NodeAffinity"),
        (requires(("disk", "NotIn", ["slow"])), ""),
        (requires(("disk", "NotIn", ["fast"])), "NodeAffinity"),
        (requires(("zone", "NotIn", ["z"])), ""),
        (requires(("disk", "Exists", [])), ""),
        (requires(("zone", "Exists", [])), "NodeAffinity"),
        (requires(("zone", "DoesNotExist", [])), ""),
        (requires(("cores", "Gt", ["4"])), ""),
        (requires(("cores", "Gt", ["8"])), "NodeAffinity"),
        (requires(("cores", "Lt", ["9"])), ""),
        (requires(("disk", "Lt", ["9"])), "NodeAffinity"),
        (requires(("disk", "Exists", []), ("zone", "Exists", [])), "NodeAffinity"),
        (requires(("metadata.name", "In", ["n"]), fields=True), ""),
        (requires(("metadata.name", "In", ["m"]), fields=True), "NodeAffinity"),
        (requires(), "NodeAffinity"),
        ({"tolerations": []}, "TaintToleration"),
        ({"tolerations": [{"operator": "Exists"}]}, ""),
        ({"tolerations": [{"key": "a", "value": "b"}]}, ""),
        ({"tolerations": [{"key": "a", "value": "x"}]}, "TaintToleration"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]}, "TaintToleration"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}]}, ""),
        ({"containers": [asks("2")]}, ""),
        ({"containers": [asks("2001m")]}, "OutOfcpu"),
        ({"containers": [container(resources={"limits": {"memory": "2Gi"}})]}, "OutOfmemory"),
        ({"containers": [container(resources={"limits": HUGE})]}, "OutOfhugepages-2Mi"),
    ],
)
def test_one_pod_alone(spec: dict[str, Any], reason: str) -> None:
    assert refused(found(**spec)) == reason


def test_what_others_took_is_not_there_any_more() -> None:
    half = found(containers=[asks("1500m")])
    assert refused(half, half) == "OutOfcpu"
    assert refused(half, found()) == ""
    assert refused(found(), found(), found()) == "OutOfpods"
    taken = rejection(half, pod_of(half), node_view(NODE), [pod_of(half)])
    assert taken is not None
    assert "asks for 1500m of cpu; of the node's 2 there are 500m left" in taken.message


@pytest.mark.parametrize(
    ("mine", "theirs", "reason"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, "NodePorts"),
        ({"hostPort": 80}, {"hostPort": 81}, ""),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, ""),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, ""),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, "NodePorts"),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "0.0.0.0"}, "NodePorts"),
        ({}, {"hostPort": 80}, ""),
    ],
)
def test_ports_of_the_node_are_given_once(mine: dict[str, Any], theirs: dict[str, Any], reason: str) -> None:
    def of(port: dict[str, Any]) -> dict[str, Any]:
        return found(containers=[container(ports=[{"containerPort": 80, **port}])])

    assert refused(of(mine), of(theirs)) == reason


def test_a_pod_takes_what_runs_at_once_or_what_its_start_needs() -> None:
    def cpu(**spec: Any) -> str:
        return str(Quantity(pod_requests(pod_of(found(**spec)))["cpu"]))

    two = [asks("300m"), asks("300m", name="d")]
    side = asks("100m", name="s") | {"restartPolicy": "Always"}
    assert cpu(containers=two) == "600m"
    assert cpu(containers=two, initContainers=[asks("2", name="i")]) == "2"
    assert cpu(containers=two, initContainers=[side]) == "700m"
    assert cpu(containers=two, overhead={"cpu": "50m"}) == "650m"
    assert cpu(containers=two, initContainers=[side, asks("2", name="i")]) == "2100m"
    assert cpu(containers=two, initContainers=[asks("2", name="i"), side]) == "2"
