"""Pods that the node does not start for a while."""

from __future__ import annotations

from typing import Any

from tests.unit.pods.conftest import MemoryRuntime


async def test_a_new_pod_waits_and_one_that_runs_goes_on(
    agents: Any, directory: Any, runtime: MemoryRuntime, until: Any
) -> None:
    directory.pod("first")
    agent = agents.start()
    await until(lambda: runtime.calls.count("StartContainer main") == 1)
    agent.refuses = lambda pod: "The node had condition: [MemoryPressure]. "
    directory.pod("second")
    await until(lambda: "default/second" in agent.workers and agent.workers["default/second"].failure)
    pods = {pod["metadata"]["name"]: pod["status"] for pod in await agent.pods()}
    assert pods["first"]["phase"] == "Running"
    second = pods["second"]
    assert (second["phase"], second["reason"]) == ("Pending", "Evicted")
    assert second["message"] == "The node had condition: [MemoryPressure]. "
    assert runtime.calls.count("RunPodSandbox second") == 0

    # The next agent takes what it finds, whatever the node has.
    await agents.kill()
    agent = agents.start()
    why = "full"
    agent.refuses = lambda pod: why
    await until(lambda: agent.workers.keys() == {"default/first", "default/second"})
    await until(lambda: agent.workers["default/second"].failure)
    assert runtime.calls.count("StartContainer main") == 1
    why = ""
    await until(lambda: runtime.calls.count("RunPodSandbox second") == 1)
