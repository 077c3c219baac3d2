"""The Pods' statuses, computed again when something has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from podyard.client import Client
from podyard.errors import PodyardError
from podyard.node.agent import Agent
from podyard.node.status import pod_status
from podyard.node.worker import Worker
from podyard.pods import Board, PodEngine, PodView

logger = logging.getLogger(__name__)

_Outline = tuple[tuple[str, int], ...]
"""The sandboxes and containers of a Pod's name: ids and states."""


class Statuses:
    """Looks at the runtime's two lists, and closer at the Pods that are not what they were at the last look.

    ``before``: the status of a worker's Pod that an earlier agent told.
    """

    def __init__(
        self, client: Client, engine: PodEngine, agent: Agent, before: Callable[[Worker], Mapping[str, Any]]
    ) -> None:
        self._client = client
        self._engine = engine
        self._agent = agent
        self._before = before
        self._seen: dict[str, Any] = {}

    async def refresh(self) -> None:
        """Bring what the agent's workers tell up to date. While the runtime is away, it stays what it was."""
        try:
            outlines = await self._outlines()
            for name, worker in list(self._agent.workers.items()):
                seen = (worker.pod, worker.ending, worker.failure, _answers(worker.board), outlines.get(name, ()))
                if worker.pod is not None and (self._seen.get(name) != seen or not worker.told):
                    await self.look(worker)
                    self._seen[name] = seen
        except PodyardError as error:
            logger.debug("statuses are computed later: %s", error)
        self._seen = {name: seen for name, seen in self._seen.items() if name in self._agent.workers}

    async def look(self, worker: Worker, *, over: bool = False) -> None:
        """Compute one Pod's status. ``over``: whether it was stopped for good. Raises what the runtime answers."""
        namespace, _, name = worker.full_name.partition("/")
        views = [view for view in await self._engine.find(name, namespace) if self._agent.owns(view)]
        worker.told = worker.told or dict(self._before(worker))
        record = worker.record(_newest(views, worker), self._agent.host_ips, self._agent.runtime, over=over)
        if record is not None:
            worker.told = pod_status(record, time.time())

    async def _outlines(self) -> dict[str, _Outline]:
        runtime = self._client.runtime
        sandboxes, containers = await asyncio.gather(runtime.list_pod_sandbox(), runtime.list_containers())
        found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        names = {}
        for sandbox in sandboxes:
            names[sandbox.id] = f"{sandbox.metadata.namespace}/{sandbox.metadata.name}"
            found[names[sandbox.id]].append((sandbox.id, sandbox.state))
        for container in containers:
            if container.pod_sandbox_id in names:
                found[names[container.pod_sandbox_id]].append((container.id, container.state))
        return {name: tuple(sorted(parts)) for name, parts in found.items()}


def _answers(board: Board) -> tuple[object, ...]:
    """What a board says now."""
    known = (dict(board.waiting), dict(board.resources), dict(board.resizing))
    return (*known, frozenset(board.started), frozenset(board.ready))


def _newest(views: list[PodView], worker: Worker) -> PodView | None:
    """The newest Pod of the name; where the uid is known, the newest that has it."""
    uid = worker.pod.metadata.uid if worker.pod is not None else ""
    mine = [view for view in views if uid in ("", view.uid)]
    return mine[-1] if mine else None
