"""Nodes of a cluster whose API server is the tests' own, and whose runtime keeps its Pods in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.kube import ApiServer, serving
from tests.support.pressure import Machine

from podyard.client import Client
from podyard.node.agent import Agent
from podyard.node.cluster import Cluster
from podyard.node.cluster.node_object import Settings, Taint
from podyard.node.cluster.objects import ApiObjects
from podyard.node.housekeeping.eviction import Evictor
from podyard.node.housekeeping.thresholds import parse_hard
from podyard.node.kube import Access, KubeClient
from podyard.node.source import ManifestDirectory
from podyard.node.watch import RuntimeWatch
from podyard.pods import PodEngine
from podyard.pods.restarts import BackOffPolicy

MAIN: dict[str, Any] = {"name": "main", "image": "busybox:1"}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """The cluster's API server."""
    async with serving(ApiServer()) as server:
        yield server


class Nodes:
    """Starts agents of one node, one after the other."""

    def __init__(self, client: Client, server: ApiServer, folder: Path) -> None:
        self._client = client
        self._server = server
        self._folder = folder
        self.machine = Machine()
        self._running: asyncio.Task[None] | None = None

    def start(self, **settings: Any) -> Agent:
        """An agent of the node n, whose waits are a hundredth of the real ones."""
        back_off = BackOffPolicy(first=0.05, longest=0.3, reset=0.6)
        root, logs = self._folder / "pods", self._folder / "logs"
        kube = KubeClient(Access(server=self._server.url), timeout=5)
        objects = ApiObjects(kube)
        engine = self.engine = PodEngine(
            self._client, root, log_root=logs, back_off=back_off, objects=objects, poll=0.01
        )
        watch = RuntimeWatch(self._client)
        directory = ManifestDirectory(self._folder / "manifests", "n")
        agent = Agent(
            engine,
            [directory],
            watch,
            host_ips=["192.0.2.1"],
            runtime="memory",
            back_off=back_off,
            poll=0.01,
            sweep=0.02,
        )
        given = {"labels": {"disk": "fast"}, "taints": [Taint(key="a", value="b", effect="NoSchedule")], **settings}
        member = Settings(name="n", **given)
        self.evictor = Evictor(self.machine, parse_hard("memory.available<100"), transition=0.0, longest_grace=0)
        agent.refuses = self.evictor.refuses
        cluster = Cluster(
            kube,
            self._client,
            engine,
            agent,
            watch,
            objects=objects,
            settings=member,
            pod_root=root,
            evictor=self.evictor,
        )
        self._running = asyncio.create_task(self._run(kube, agent, cluster))
        return agent

    async def kill(self) -> None:
        """End the agent in the middle of whatever it does."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                await self._running

    @staticmethod
    async def _run(kube: KubeClient, agent: Agent, cluster: Cluster) -> None:
        async with kube, asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            group.create_task(cluster.run())


@pytest.fixture
async def nodes(
    client: Client, server: ApiServer, tmp_path: Path, directory: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Nodes]:
    """Agents of the node n."""
    monkeypatch.setattr("podyard.node.watch.HEALTH_POLL", 0.05)
    monkeypatch.setattr("podyard.node.cluster.cluster.LOOK", 0.05)
    monkeypatch.setattr("podyard.node.cluster.cluster.GATHER", 0.0)
    monkeypatch.setattr("podyard.node.cluster.lease.RENEW", 0.05)
    monkeypatch.setattr("podyard.node.cluster.registration.LOOK", 0.05)
    nodes = Nodes(client, server, tmp_path)
    yield nodes
    await nodes.kill()


@pytest.fixture
def bind(server: ApiServer) -> Any:
    """``bind(name, **spec)``: a Pod that is bound to the node n."""

    def make(name: str, *, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        spec = {"nodeName": "n", "containers": [MAIN], **spec}
        return server.add("pods", name, "default", metadata=metadata or {}, spec=spec)

    return make
