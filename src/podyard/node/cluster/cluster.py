"""The node in its cluster: everything put together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podyard.client import Client
from podyard.manifest.model import Pod
from podyard.node.agent import Agent
from podyard.node.cluster.admission import NodeView, node_view
from podyard.node.cluster.bound import BoundPods
from podyard.node.cluster.events import Events, News
from podyard.node.cluster.lease import Heartbeat
from podyard.node.cluster.mirrors import Mirrors
from podyard.node.cluster.news import about_node, about_pod, of_step
from podyard.node.cluster.node_object import Settings
from podyard.node.cluster.objects import ApiObjects
from podyard.node.cluster.registration import Registration
from podyard.node.cluster.reports import Reports
from podyard.node.housekeeping.eviction import Evictor
from podyard.node.kube import KubeClient, Reflector, for_ever, paths
from podyard.node.statuses import Statuses
from podyard.node.wake import until_set
from podyard.node.watch import RuntimeWatch
from podyard.node.worker import Worker
from podyard.pods import PodEngine, PodEvent

LOOK = 1.0
"""Seconds between two looks at what the Pods' statuses are made of, where no event asks for one."""
GATHER = 0.05
"""Seconds after an event in which others are waited for."""


class Cluster:
    """Registers the node, gives the agent the Pods that are bound to it, and tells what becomes of them."""

    def __init__(
        self,
        kube: KubeClient,
        client: Client,
        engine: PodEngine,
        agent: Agent,
        watch: RuntimeWatch,
        *,
        objects: ApiObjects,
        settings: Settings,
        pod_root: Path,
        evictor: Evictor,
    ) -> None:
        name = settings.name
        self._agent = agent
        self._news = asyncio.Event()
        self._nodes = Reflector(
            kube, paths.NODES, params={"fieldSelector": f"metadata.name={name}"}, on_change=self._node_changed
        )
        self._pods = Reflector(
            kube, paths.PODS, params={"fieldSelector": f"spec.nodeName={name}"}, on_change=self._pods_changed
        )
        self._name = name
        self._events = Events(kube, name)
        self._registration = Registration(
            kube,
            client,
            settings,
            pod_root,
            trouble=lambda: agent.trouble,
            pressures=evictor.conditions,
            tell=self._events.tell,
        )
        self._heartbeat = Heartbeat(kube, self._registration, name)
        self._statuses = Statuses(client, engine, agent, self._told_before)
        bound = BoundPods(
            self._pods,
            name,
            node=self._node,
            own=lambda: agent.own_pods().values(),
            refuses=agent.refuses,
            on_news=objects.forget,
            tell=self._events.tell,
        )
        self._reports = Reports(kube, self._pods, bound, agent, self._statuses)
        self._mirrors = Mirrors(kube, self._pods, agent)
        agent.join(bound, self._reports)
        agent.on_event = watch.on_event = self._news.set
        agent.on_step = self._step
        evictor.on_eviction = self._eviction
        watch.on_trouble = evictor.on_change = self._registration.news

    async def run(self) -> None:
        """For ever, until cancelled. Raises what only a bug explains."""
        self._events.tell(News(about=about_node(self._name), reason="Starting", message="Starting podyard node."))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run())
            group.create_task(self._nodes.run())
            group.create_task(self._pods.run())
            group.create_task(self._registration.run())
            group.create_task(self._heartbeat.run())
            group.create_task(for_ever(self._tell, self._rest, "tell the API server of the pods"))

    def _step(self, pod: Pod, event: PodEvent) -> None:
        if (news := of_step(pod, event)) is not None:
            self._events.tell(news)

    def _eviction(self, pod: Pod, signal: str, message: str) -> None:
        for about, reason, text in (
            (about_node(self._name), "EvictionThresholdMet", f"Attempting to reclaim {signal}"),
            (about_pod(pod), "Evicted", message),
        ):
            self._events.tell(News(about=about, reason=reason, message=text, warning=True))

    async def _tell(self) -> None:
        await self._statuses.refresh()
        if self._registration.node:
            await self._mirrors.agree(self._registration.node)
            await self._reports.tell()

    async def _rest(self) -> None:
        await until_set(self._news, LOOK)
        await asyncio.sleep(GATHER)
        self._news.clear()

    def _node(self) -> NodeView | None:
        """The Node, once its status has been told."""
        found = next(iter(self._nodes.objects.values()), None)
        return node_view(found) if found is not None and found.get("status", {}).get("allocatable") else None

    def _node_changed(self) -> None:
        if not self._nodes.objects and self._registration.node:
            self._registration.forget()
        self._agent.news()

    def _pods_changed(self) -> None:
        self._agent.news()
        self._news.set()

    def _told_before(self, worker: Worker) -> Mapping[str, Any]:
        found = self._pods.objects.get(worker.full_name, {})
        status: Mapping[str, Any] = found.get("status", {})
        return status
