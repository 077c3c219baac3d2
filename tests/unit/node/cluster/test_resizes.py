"""Pods that ask for more than they were taken with."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.support.kube import ApiServer
from tests.unit.node.cluster.test_pods import condition, is_ready, status

from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.manifest.quantity import Quantity
from podyard.node.cluster.admission import NodeView
from podyard.node.cluster.resizes import Resizes

AMOUNTS = {"cpu": Quantity(Fraction(4)), "pods": Quantity(Fraction(10))}
NODE = NodeView(name="n", labels={}, taints=(), allocatable=AMOUNTS)


def pod_of(name: str, cpu: int, image: str = "i:1") -> Pod:
    container = f"{{name: main, image: '{image}', resources: {{requests: {{cpu: {cpu}}}}}}}"
    metadata = f"{{name: {name}, uid: {name}}}"
    text = f"{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{containers: [{container}]}}}}"
    (pod,) = parse(text.encode(), "pod").pods
    return pod


def cpu(pod: Pod) -> str:
    return str(pod.container("main").resources.requests["cpu"])


def test_who_asks_for_too_much_goes_on_with_what_it_has() -> None:
    resizes = Resizes()
    assert cpu(resizes.sized(pod_of("a", 1), NODE, [])) == "1"
    assert cpu(resizes.sized(pod_of("b", 2), NODE, [])) == "2"
    assert cpu(resizes.sized(pod_of("a", 2), NODE, [])) == "2"
    assert resizes.pending == {}
    kept = resizes.sized(pod_of("a", 3, "i:2"), NODE, [])
    assert (cpu(kept), kept.container("main").image) == ("2", "i:2")
    assert (resizes.pending["a"].reason, "3 of cpu" in resizes.pending["a"].message) == ("Deferred", True)
    assert cpu(resizes.sized(pod_of("a", 5), NODE, [])) == "2"
    assert resizes.pending["a"].reason == "Infeasible"
    # Once the other has gone there is room, but for the node's own.
    resizes.keep({"a"})
    assert cpu(resizes.sized(pod_of("a", 3), NODE, [pod_of("own", 2)])) == "2"
    assert cpu(resizes.sized(pod_of("a", 3), NODE, [])) == "3"
    assert resizes.pending == {}
    resizes.sized(pod_of("a", 5), NODE, [])
    resizes.keep(set())
    assert resizes.pending == {}


async def test_the_server_is_told_why_a_pod_has_not_what_it_asks_for(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    def main(memory: str) -> list[dict[str, Any]]:
        resources = {"requests": {"memory": memory}}
        return [{"name": "main", "image": "busybox:1", "imagePullPolicy": "IfNotPresent", "resources": resources}]

    bind("web", containers=main("1Mi"))
    nodes.start()
    await until(lambda: is_ready(server))
    server.edit("pods", "web", "default", spec={"containers": main("1000Ti")})
    await until(lambda: condition(server, "PodResizePending") == "True")
    (told,) = [one for one in status(server)["conditions"] if one["type"] == "PodResizePending"]
    assert (told["reason"], "of memory" in told["message"]) == ("Infeasible", True)
    assert status(server)["containerStatuses"][0]["allocatedResources"] == {"memory": str(1 << 20)}
    server.edit("pods", "web", "default", spec={"containers": main("2Mi")})
    await until(lambda: condition(server, "PodResizePending") == "False")
    await until(lambda: status(server)["containerStatuses"][0]["allocatedResources"] == {"memory": str(2 << 20)})
    assert runtime.calls.count("StartContainer main") == 1
