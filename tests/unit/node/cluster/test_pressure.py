"""A node that runs out of something: its conditions, what it takes, and what it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.kube import ApiServer
from tests.support.pressure import candidate
from tests.unit.node.cluster.test_events import of_pod
from tests.unit.node.cluster.test_pods import condition, is_ready, sandboxes, status


def pressure(server: ApiServer) -> str:
    if not server.has("nodes", "n"):
        return ""
    found = server.get("nodes", "n").get("status", {}).get("conditions", ())
    return next((one["status"] for one in found if one["type"] == "MemoryPressure"), "")


async def test_a_node_under_pressure_says_so_and_takes_no_more_best_effort_pods(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    nodes.start()
    await until(lambda: pressure(server) == "False")
    nodes.machine.left["memory.available"] = 50
    await nodes.evictor.look()
    await until(lambda: pressure(server) == "True")
    bind("web")
    await until(lambda: status(server).get("phase") == "Failed")
    told = status(server)
    assert (told["reason"], told["message"]) == ("Evicted", "The node had condition: [MemoryPressure]. ")
    bind("asks", containers=[{"name": "main", "image": "busybox:1", "resources": {"requests": {"memory": "1Mi"}}}])
    await until(lambda: is_ready(server, "asks"))
    assert sandboxes(runtime).keys() == {"asks"}
    nodes.machine.left["memory.available"] = 500
    await nodes.evictor.look()
    await until(lambda: pressure(server) == "False")


async def test_a_pod_that_is_evicted_has_failed_and_stays_so(
    server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any
) -> None:
    bind("web")
    nodes.start()
    await until(lambda: is_ready(server))
    nodes.machine.engine = nodes.engine
    (view,) = await nodes.engine.find("web")
    nodes.machine.running = [replace(candidate("web", 10), view=view)]
    nodes.machine.left["memory.available"] = 50
    await nodes.evictor.look()
    await until(lambda: status(server).get("phase") == "Failed")
    told = status(server)
    assert told["reason"] == "Evicted"
    assert told["message"].startswith("The node was low on resource: memory. Threshold quantity: 100, available: 50.")
    assert condition(server, "DisruptionTarget") == "True"
    assert runtime.calls.count("StartContainer main") == 1
    assert runtime.stop_timeouts["main"] == 1
    await until(lambda: of_pod(server, "web").get("Evicted"))
    await until(lambda: {"EvictionThresholdMet", "NodeHasInsufficientMemory"} <= of_pod(server, "n").keys())
