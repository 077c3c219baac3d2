"""Pods that the node does not start for a while."""

from __future__ import annotations

from typing import Any

from tests.unit.pods.conftest import MemoryRuntime

from podyard.node.wanted import Rejection

FULL = Rejection("Evicted", "The node had condition: [MemoryPressure]. ")


async def test_a_new_pod_waits_and_one_that_runs_goes_on(
    agents: Any, directory: Any, runtime: MemoryRuntime, until: Any
) -> None:
    directory.pod("first")
    agent = agents.start()
    await until(lambda: runtime.calls.count("StartContainer main") == 1)
    agent.refuses = lambda pod: FULL
    directory.pod("second")
    await until(lambda: "default/second" in agent.workers and agent.workers["default/second"].failure)
    pods = {pod["metadata"]["name"]: pod["status"] for pod in await agent.pods()}
    assert pods["first"]["phase"] == "Running"
    second = pods["second"]
    assert (second["phase"], second["reason"]) == ("Pending", FULL.reason)
    assert second["message"] == FULL.message
    assert runtime.calls.count("RunPodSandbox second") == 0

    # The next agent takes what it finds, whatever the node has.
    await agents.kill()
    agent = agents.start()
    why: Rejection | None = FULL
    agent.refuses = lambda pod: why
    await until(lambda: agent.workers.keys() == {"default/first", "default/second"})
    await until(lambda: agent.workers["default/second"].failure)
    assert runtime.calls.count("StartContainer main") == 1
    why = None
    await until(lambda: runtime.calls.count("RunPodSandbox second") == 1)
