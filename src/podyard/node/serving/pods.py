"""The node's Pods, as requests name them."""

from __future__ import annotations

import asyncio
from typing import Any

from podyard.errors import InvalidArgument, NotFound
from podyard.manifest.model import Pod
from podyard.node.agent import Agent
from podyard.node.render import pod_list
from podyard.pods import Board, ContainerView, PodEngine, PodView
from podyard.pods.logs import log_of


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
        found = await self._find(namespace, name)
        found = [view for view in found if uid in ("", view.uid)]
        if not found:
            raise self._absent(namespace, name)
        return found[-1]  # the newest

    def running_container(self, pod: PodView, name: str) -> ContainerView:
        """A container that runs. Raises NotFound."""
        found = next((one for one in pod.containers if one.name == name and one.state == "running"), None)
        if found is None:
            raise NotFound(f'container not found ("{name}")')
        return found

    async def log(self, namespace: str, name: str, container: str, *, before: bool) -> PodView:
        """A Pod that has the log of a container; with ``before`` that of the attempt before its newest one.

        Raises NotFound, and InvalidArgument for a log that may come: nothing was written yet.
        """
        found = await self._find(namespace, name)
        worker = self._agent.workers.get(f"{namespace}/{name}")
        begun = any(one.name == container for view in found[-1:] for one in view.containers)
        if not begun and worker is not None and worker.pod is not None:
            if why := _waits_for(worker.pod, worker.board, container):
                raise InvalidArgument(f'container "{container}" in pod "{name}" is waiting to start: {why}')
            raise NotFound(f'container "{container}" not found in pod "{name}"')
        if not found:
            raise self._absent(namespace, name)
        try:
            log_of(found[-1], container, before=before)
        except NotFound as error:
            if not before:
                raise
            text = f'previous terminated container "{container}" in pod "{name}" not found'
            raise InvalidArgument(text) from error
        return found[-1]

    def _absent(self, namespace: str, name: str) -> NotFound:
        begun = f"{namespace}/{name}" in self._agent.workers
        what = "has no sandbox: see its events" if begun else "does not exist on this node"
        return NotFound(f'pod "{name}_{namespace}" {what}')

    async def _find(self, namespace: str, name: str) -> list[PodView]:
        return [view for view in await self._engine.find(name, namespace) if self._agent.owns(view)]


def _waits_for(pod: Pod, board: Board, name: str) -> str:
    """Why a container has not been started yet; "" for one that the Pod does not have."""
    mains = [one.name for one in pod.spec.containers]
    if name not in (*mains, *(one.name for one in (*pod.spec.init_containers, *pod.spec.ephemeral_containers))):
        return ""
    waiting = board.waiting.get(name)
    if waiting is not None and waiting.reason:
        return waiting.reason
    return "PodInitializing" if pod.spec.init_containers and name in mains else "ContainerCreating"


def _running(view: PodView) -> dict[str, Any]:
    containers = [{"name": one.name, "image": one.image} for one in view.containers if one.state == "running"]
    return {
        "metadata": {"name": view.name, "namespace": view.namespace, "uid": view.uid},
        "spec": {"containers": containers},
        "status": {},
    }
