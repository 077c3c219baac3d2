"""Pods that the node does not start for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.node.conftest import POD
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.cri import api
from podyard.node.wanted import Rejection
from podyard.pods import PodEngine
from podyard.pods.verdict import Verdict

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


async def test_what_has_ended_is_told_as_it_is(
    agents: Any, directory: Any, runtime: MemoryRuntime, client: Client, until: Any, tmp_path: Path
) -> None:
    text = POD.format(name="done", mark="a").replace("spec:", "spec:\n  restartPolicy: Never")
    directory.write("done.yaml", text)
    directory.pod("evicted")
    runtime.on_start = lambda status: runtime.end(status, 0) if pod_name(status) == "done" else None
    agent = agents.start()
    await until(lambda: runtime.calls.count("StartContainer main") == 2)
    engine = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    (view,) = await engine.find("evicted")
    await engine.end(view, Verdict("Evicted", "low"))
    await until(lambda: all(worker.has_ended for worker in agent.workers.values()))
    await agents.kill()
    agent = agents.start()
    agent.refuses = lambda pod: FULL
    await until(lambda: len(agent.workers) == 2 and all(worker.has_ended for worker in agent.workers.values()))
    pods = {pod["metadata"]["name"]: pod["status"] for pod in await agent.pods()}
    assert (pods["done"]["phase"], "reason" in pods["done"]) == ("Succeeded", False)
    assert (pods["evicted"]["phase"], pods["evicted"]["message"]) == ("Failed", "low")


def pod_name(status: api.ContainerStatus) -> str:
    return str(status.labels["io.kubernetes.pod.name"])
