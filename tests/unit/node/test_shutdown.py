"""Pods end before the machine goes down, critical ones last; the machine waits for them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import logind as support
from tests.support.logind import Manager
from tests.support.pressure import pod_of
from tests.unit.node.test_command import started
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.errors import FailedPrecondition
from podyard.node.shutdown import Grace, Shutdown
from podyard.node.wanted import Rejection
from podyard.pods import PodEngine

pytestmark = support.NEEDED
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  priorityClassName: "{priority}"
  terminationGracePeriodSeconds: {grace}
  containers: [{{name: {name}, image: 'busybox:1'}}]
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", support.address(tmp_path))
    with support.logind(tmp_path) as manager:
        yield manager


def calls(runtime: MemoryRuntime, call: str) -> list[str]:
    return [one.removeprefix(f"{call} ") for one in runtime.calls if one.startswith(f"{call} ")]


async def test_the_machine_waits_until_the_pods_have_ended(
    manager: Manager, runtime: MemoryRuntime, client: Client, agents: Any, directory: Any, until: Any, tmp_path: Path
) -> None:
    for name, priority, grace in (("critical", "system-node-critical", 30), ("slow", "", 30), ("quick", "", 1)):
        directory.write(f"{name}.yaml", POD.format(name=name, priority=priority, grace=grace))
    agent = agents.start()
    await until(lambda: len(calls(runtime, "StartContainer")) == 3)
    engine = PodEngine(client, tmp_path / "pods", log_root=tmp_path / "logs")
    shutdown = Shutdown(engine, agent, Grace(whole=300, critical=20))
    await shutdown.check()
    asked: list[bool] = []
    turns: list[str] = []

    async def stops(request: Any) -> None:
        asked.append(manager.asked.is_set())
        assert shutdown.refuses(pod_of("new")) == Rejection(
            "NodeShutdown", "Pod was rejected as the node is shutting down."
        )
        assert agent.trouble == "the node is shutting down"

    runtime.on_stop = stops
    shutdown.on_change = lambda: turns.append(agent.going_down)
    agent.refuses = shutdown.refuses
    running = asyncio.create_task(shutdown.run())
    await until(lambda: "podyard node" in support.inhibitors(tmp_path))
    await asyncio.to_thread(support.power_off, tmp_path)
    assert await asyncio.to_thread(manager.asked.wait, support.LIMIT)
    assert asked == [False] * 3
    assert sorted(calls(runtime, "StopContainer")[:2]) == ["quick", "slow"]
    assert calls(runtime, "StopContainer")[2] == "critical"
    assert runtime.stop_timeouts == {"slow": 30, "quick": 1, "critical": 20}

    # The machine stays up after all: systemd refused. The node's own Pods are started again, and the next time is as
    # the first one.
    await until(lambda: turns == ["the node is shutting down", ""])
    await until(lambda: len(calls(runtime, "StartContainer")) == 6)
    manager.asked.clear()
    await until(lambda: "podyard node" in support.inhibitors(tmp_path))
    await asyncio.to_thread(support.power_off, tmp_path)
    assert await asyncio.to_thread(manager.asked.wait, support.LIMIT)
    assert len(calls(runtime, "StopContainer")) == 6
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_more_time_than_logind_gives_is_refused(manager: Manager, agents: Any, client: Client) -> None:
    shutdown = Shutdown(PodEngine(client), agents.start(), Grace(whole=601))
    with pytest.raises(FailedPrecondition, match=r"for 600 s, not 601: set InhibitDelayMaxSec=601 in "):
        await shutdown.check()


async def test_the_command_holds_a_shutdown_up_and_lets_go_when_it_ends(
    manager: Manager, runtime: MemoryRuntime, daemon: Any, directory: Any, until: Any, tmp_path: Path
) -> None:
    directory.write("web.yaml", POD.format(name="web", priority="", grace=1))
    process = await started(
        tmp_path,
        *("--pod-manifest-path", str(directory.path), "--container-runtime-endpoint", f"{tmp_path}/cri.sock"),
        *("--eviction-hard", "", "--shutdown-grace-period", "5m"),
    )
    await until(lambda: calls(runtime, "StartContainer"))
    await until(lambda: "podyard node" in support.inhibitors(tmp_path))
    await asyncio.to_thread(support.power_off, tmp_path)
    assert await asyncio.to_thread(manager.asked.wait, support.LIMIT)
    assert calls(runtime, "StopContainer") == ["web"]
    await until(lambda: len(calls(runtime, "StartContainer")) == 2)  # systemd refused
    await until(lambda: "podyard node" in support.inhibitors(tmp_path))
    process.send_signal(signal.SIGTERM)
    _, output = await asyncio.wait_for(process.communicate(), support.LIMIT)
    assert process.returncode == 0, output
    await until(lambda: "podyard node" not in support.inhibitors(tmp_path))
    assert calls(runtime, "StopContainer") == ["web"]
