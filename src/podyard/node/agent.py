"""The agent: what the directory asks for and what runs are brought to agree, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from podyard.errors import NotFound, PodyardError
from podyard.manifest.model import Pod
from podyard.node.render import pod_object
from podyard.node.source import MANIFEST_FILE, ManifestDirectory, Wanted
from podyard.node.status import pod_status
from podyard.node.watch import RuntimeWatch
from podyard.node.worker import Worker
from podyard.pods import PodEngine, PodView
from podyard.pods.restarts import BackOffPolicy

logger = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at the directory."""
SWEEP = 10.0
"""Seconds between two looks for Pods that are the agent's and that nobody wants."""


class Agent:
    """Runs the Pods of a directory on one runtime."""

    def __init__(
        self,
        engine: PodEngine,
        source: ManifestDirectory,
        watch: RuntimeWatch,
        *,
        host_ips: Sequence[str] = (),
        back_off: BackOffPolicy | None = None,
        poll: float = POLL,
        sweep: float = SWEEP,
    ) -> None:
        self._engine = engine
        self._source = source
        self._watch = watch
        self._host_ips = host_ips
        self._policy = back_off or BackOffPolicy()
        self._poll = poll
        self._sweep = sweep
        self._workers: dict[str, Worker] = {}
        self._problems: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why the node is not ready; "" when it is."""
        return self._watch.trouble

    async def run(self) -> None:
        """For ever, until cancelled: then the Pods go on by themselves. Raises what only a bug explains."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.health())
            group.create_task(self._watch.events())
            group.create_task(self._follow(group))

    async def pods(self) -> list[dict[str, Any]]:
        """All wanted Pods with their status, as v1 Pods. Raises what the runtime answers when it cannot be asked."""
        views = {}
        for view in await self._engine.list():
            if self._is_owned(view):
                views[view.full_name] = view  # the newest comes last
        found = []
        for name, worker in sorted(self._workers.items()):
            record = worker.record(views.get(name), self._host_ips)
            if record is not None:
                worker.told = pod_status(record, time.time())
                found.append(pod_object(record.pod, record.view, worker.told))
        return found

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        swept = float("-inf")
        while True:
            wanted = await self._look()
            if wanted is not None:
                for name, pod in wanted.pods.items():
                    self._want(name, pod, group)
                for name, worker in self._workers.items():
                    if name not in wanted.pods and not self._is_held(worker.pod, wanted):
                        worker.want(None)
                if time.monotonic() - swept > self._sweep and await self._sweep_away(wanted, group):
                    swept = time.monotonic()
            await asyncio.sleep(self._poll)

    async def _look(self) -> Wanted | None:
        """What the directory says; None when it cannot be listed, and then all stays as it is."""
        wanted: Wanted | None = None
        try:
            wanted = await asyncio.to_thread(self._source.look)
        except NotFound as error:
            problems = {"": f"{error}: what runs is left alone"}
        else:
            problems = wanted.problems
        for file, problem in problems.items():
            if self._problems.get(file) != problem:
                logger.error("%s", problem)
        self._problems = problems
        return wanted

    def _want(self, name: str, pod: Pod | None, group: asyncio.TaskGroup) -> None:
        if (known := self._workers.get(name)) is not None:
            if known.pod is not None:  # else it is being removed, and a later look finds it gone
                known.want(pod)
            return
        worker = Worker(
            self._engine,
            name,
            pod,
            owned=self._is_owned,
            pause=self._watch.pause,
            back_off=self._policy,
        )
        self._workers[name] = worker
        group.create_task(self._work(worker))

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            del self._workers[worker.full_name]

    async def _sweep_away(self, wanted: Wanted, group: asyncio.TaskGroup) -> bool:
        """Remove Pods of this directory whose manifest went while nobody looked. Whether the runtime could be asked.

        Those of a file that cannot be read now are left alone.
        """
        try:
            views = await self._engine.list()
        except PodyardError as error:
            logger.debug("Pods that nobody wants are looked for later: %s", error)
            return False
        for view in views:
            held = view.annotations.get(MANIFEST_FILE) in wanted.held
            if self._is_owned(view) and not held and view.full_name not in self._workers:
                self._want(view.full_name, None, group)
        return True

    def _is_owned(self, view: PodView) -> bool:
        return self._source.owns(view.annotations.get(MANIFEST_FILE, ""))

    @staticmethod
    def _is_held(pod: Pod | None, wanted: Wanted) -> bool:
        return pod is not None and pod.metadata.annotations.get(MANIFEST_FILE) in wanted.held
