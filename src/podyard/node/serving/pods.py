"""The node's Pods, as requests name them."""

from __future__ import annotations

import asyncio
from typing import Any

from podyard.errors import InvalidArgument, NotFound
from podyard.node.agent import Agent
from podyard.node.render import pod_list
from podyard.pods import ContainerView, PodEngine, PodView


class NodePods:
    """What the agent runs on its runtime."""

    def __init__(self, engine: PodEngine, agent: Agent) -> None:
        self._engine = engine
        self._agent = agent
        self._one = asyncio.Lock()

    async def everything(self) -> dict[str, Any]:
        """A PodList of all Pods with their status. One look at a time: each asks for every container."""
        async with self._one:
            return pod_list(await self._agent.pods())

    async def running(self) -> dict[str, Any]:
        """A PodList of what runs: names, and which containers."""
        views = [view for view in await self.views() if view.running]
        return pod_list([_running(view) for view in views])

    async def views(self) -> list[PodView]:
        """The agent's Pods, as the runtime shows them."""
        async with self._one:
            return [view for view in await self._engine.list() if self._agent.owns(view)]

    async def pod(self, namespace: str, name: str, uid: str = "") -> PodView:
        """A Pod. Raises NotFound."""
        found = [view for view in await self._engine.find(name, namespace) if self._agent.owns(view)]
        found = [view for view in found if uid in ("", view.uid)]
        if not found:
            raise NotFound(f'pod "{name}_{namespace}" does not exist on this node')
        return found[-1]  # the newest

    def running_container(self, pod: PodView, name: str) -> ContainerView:
        """A container that runs. Raises NotFound."""
        found = next((one for one in pod.containers if one.name == name and one.state == "running"), None)
        if found is None:
            raise NotFound(f'container not found ("{name}")')
        return found

    def expect_log(self, pod: PodView, name: str) -> None:
        """Raises InvalidArgument for a container that has written nothing yet because it has not been started."""
        worker = self._agent.workers.get(pod.full_name)
        if worker is None or worker.pod is None or any(one.name == name for one in pod.containers):
            return
        if any(one.name == name for one in (*worker.pod.all_containers(), *worker.pod.spec.ephemeral_containers)):
            waiting = worker.board.waiting.get(name)
            why = waiting.reason if waiting is not None and waiting.reason else "ContainerCreating"
            raise InvalidArgument(f'container "{name}" in pod "{pod.name}" is waiting to start: {why}')


def _running(view: PodView) -> dict[str, Any]:
    containers = [{"name": one.name, "image": one.image} for one in view.containers if one.state == "running"]
    return {
        "metadata": {"name": view.name, "namespace": view.namespace, "uid": view.uid},
        "spec": {"containers": containers},
        "status": {},
    }
