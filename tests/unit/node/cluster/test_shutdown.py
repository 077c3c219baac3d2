"""Pods of an API server on a machine that goes down."""

from __future__ import annotations

from typing import Any

from tests.support.kube import ApiServer
from tests.unit.node.cluster.test_pods import condition, is_ready, status

from podyard.node.shutdown import Grace, Shutdown


async def test_they_have_failed_for_good(server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any) -> None:
    bind("web")
    agent = nodes.start()
    await until(lambda: is_ready(server))
    shutdown = Shutdown(nodes.engine, agent, Grace(whole=40))
    await shutdown.end_pods()
    await until(lambda: status(server).get("phase") == "Failed")
    told = status(server)
    message = "Pod was terminated in response to imminent node shutdown."
    assert (told["reason"], told["message"]) == ("Terminated", message)
    assert condition(server, "DisruptionTarget") == "True"
    assert runtime.stop_timeouts["main"] == 30
