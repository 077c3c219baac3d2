"""The agent: what the sources ask for and what runs are brought to agree, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from podyard.errors import PodyardError
from podyard.manifest.model import Pod
from podyard.node.render import pod_object
from podyard.node.sources import Look, Sources
from podyard.node.status import pod_status
from podyard.node.wake import until_set
from podyard.node.wanted import ORIGIN, Ending, Rejection, Source
from podyard.node.watch import RuntimeWatch
from podyard.node.worker import Farewell, Worker
from podyard.pods import PodEngine, PodEvent, PodView
from podyard.pods.restarts import BackOffPolicy

logger = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at the sources."""
SWEEP = 10.0
"""Seconds between two looks for Pods that are the agent's and that nobody wants."""


class Agent:
    """Runs the Pods of its sources on one runtime.

    ``runtime``: its name, where statuses are to have it before the containers' ids.
    """

    def __init__(
        self,
        engine: PodEngine,
        sources: Sequence[Source],
        watch: RuntimeWatch,
        *,
        host_ips: Sequence[str] = (),
        runtime: str = "",
        back_off: BackOffPolicy | None = None,
        poll: float = POLL,
        sweep: float = SWEEP,
    ) -> None:
        self._engine = engine
        self._sources = Sources(sources)
        self._watch = watch
        self._farewell: Farewell | None = None
        self._policy = back_off or BackOffPolicy()
        self._poll = poll
        self._sweep = sweep
        self._news = asyncio.Event()
        self.host_ips = host_ips
        self.runtime = runtime
        self.workers: dict[str, Worker] = {}
        """By the Pods' full names."""
        self.look: Look | None = None
        """What the sources said last."""
        self.has_looked = asyncio.Event()
        """Set once the sources have been asked."""
        self.refuses: Callable[[Pod], Rejection | None] = lambda pod: None
        """Why the node starts no such Pod now; None when it does. What runs goes on."""
        self.going_down = ""
        """Why the node is not ready although its runtime is; "" while the machine stays up."""
        self.on_event: Callable[[], None] = lambda: None
        """Called when something was done for a Pod."""
        self.on_step: Callable[[Pod, PodEvent], None] = lambda pod, event: None
        """Called with each step of the engine."""

    def join(self, source: Source, farewell: Farewell) -> None:
        """Take Pods from one source more, and tell ``farewell`` of those that are ended. Before ``run``."""
        self._sources.add(source)
        self._farewell = farewell

    @property
    def trouble(self) -> str:
        """Why the node is not ready; "" when it is."""
        return self.going_down or self._watch.trouble

    async def run(self) -> None:
        """For ever, until cancelled: then the Pods go on by themselves. Raises what only a bug explains."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.health())
            group.create_task(self._watch.events())
            group.create_task(self._follow(group))

    def news(self) -> None:
        """Look at the sources at once."""
        self._news.set()

    def owns(self, view: PodView) -> bool:
        """Whether a Pod on the runtime is one of the sources'."""
        return self._sources.owns(view)

    def own_pods(self) -> dict[str, Pod]:
        """The Pods of the node's own manifests that are to run, by full name: those of an API server have a uid."""
        workers = self.workers.items()
        return {
            name: worker.pod
            for name, worker in workers
            if worker.pod is not None and not worker.ending and not worker.pod.metadata.uid
        }

    async def pods(self) -> list[dict[str, Any]]:
        """All Pods with their status, as v1 Pods. Raises what the runtime answers when it cannot be asked."""
        views = {}
        for view in await self._engine.list():
            if self._sources.owns(view):
                views[view.full_name] = view  # the newest comes last
        found = []
        for name, worker in sorted(self.workers.items()):
            record = worker.record(views.get(name), self.host_ips, self.runtime)
            if record is not None:
                worker.told = pod_status(record, time.time())
                found.append(pod_object(record.pod, record.view, worker.told))
        return found

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        swept = float("-inf")
        while True:
            self._news.clear()
            look = self.look = await self._sources.look()
            self.has_looked.set()
            for name, pod in look.pods.items():
                self._want(name, pod, group)
            for name, ending in look.ending.items():
                self._end(name, ending, group)
            for name, worker in self.workers.items():
                if name not in look.pods and name not in look.left and not _is_held(worker.pod, look):
                    worker.end(worker.grace)
            if time.monotonic() - swept > self._sweep and await self._sweep_away(look, group):
                swept = time.monotonic()
            await until_set(self._news, self._poll)

    def _want(self, name: str, pod: Pod, group: asyncio.TaskGroup) -> None:
        known = self.workers.get(name)
        if known is None:
            self._begin(name, pod, group)
        elif not known.ending:  # else it is being removed, and a later look finds it gone
            known.want(pod)

    def _end(self, name: str, ending: Ending, group: asyncio.TaskGroup) -> None:
        worker = self.workers.get(name) or self._begin(name, ending.pod, group)
        worker.end(ending.grace)

    def _begin(self, name: str, pod: Pod | None, group: asyncio.TaskGroup) -> Worker:
        worker = Worker(
            self._engine,
            name,
            pod,
            owned=self._sources.owns,
            pause=self._watch.pause,
            back_off=self._policy,
            farewell=self._farewell,
            refuses=self.refuses,
            on_event=self.on_event,
            on_step=self.on_step,
        )
        self.workers[name] = worker
        group.create_task(self._work(worker))
        return worker

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            del self.workers[worker.full_name]

    async def _sweep_away(self, look: Look, group: asyncio.TaskGroup) -> bool:
        """Remove Pods of the sources that went from them while nobody looked. Whether the runtime could be asked.

        Those of an origin that cannot be asked now are left alone.
        """
        try:
            views = await self._engine.list()
        except PodyardError as error:
            logger.debug("Pods that nobody wants are looked for later: %s", error)
            return False
        for view in views:
            name = view.full_name
            if not self._sources.owns(view) or look.holds(view.annotations[ORIGIN]):
                continue
            if name not in self.workers and name not in look.left:
                self._end(name, Ending(None, None), group)
        return True


def _is_held(pod: Pod | None, look: Look) -> bool:
    return pod is not None and look.holds(pod.metadata.annotations[ORIGIN])
