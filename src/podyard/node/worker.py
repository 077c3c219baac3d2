"""One Pod of the node: it is kept running for as long as it is wanted, and then removed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from podyard.errors import AlreadyExists, PodyardError, translate
from podyard.manifest.model import Pod
from podyard.node.status import Record
from podyard.node.wanted import Rejection
from podyard.pods import Board, PodEngine, PodEvent, PodView, Waiting
from podyard.pods.keep import has_ended, is_of
from podyard.pods.patience import is_away
from podyard.pods.restarts import BackOff, BackOffPolicy
from podyard.pods.supervise import Pause

logger = logging.getLogger(__name__)

AWAY_POLL = 1.0
"""Seconds between two tries while the runtime is away."""

Owned = Callable[[PodView], bool]


class Farewell(Protocol):
    """Is told of the end of Pods that somebody asked for. Neither may take long."""

    async def stopped(self, worker: Worker) -> None:
        """Its containers have ended, and can still be looked at."""

    def removed(self, worker: Worker) -> None:
        """Nothing of it is left."""


class Worker:
    """Carries one Pod out. ``want`` says which, ``end`` that none is wanted any more."""

    def __init__(
        self,
        engine: PodEngine,
        full_name: str,
        pod: Pod | None,
        *,
        owned: Owned,
        pause: Pause,
        back_off: BackOffPolicy,
        farewell: Farewell | None = None,
        refuses: Callable[[Pod], Rejection | None] = lambda pod: None,
        on_event: Callable[[], None] = lambda: None,
        on_step: Callable[[Pod, PodEvent], None] = lambda pod, event: None,
    ) -> None:
        self.full_name = full_name
        self.pod = pod
        """What is to run, or is being ended; None for what an earlier agent left."""
        self.has_ended = False
        """Whether nothing of what is wanted is to be started any more."""
        self.ending = False
        self.grace: int | None = None
        """Seconds that an ending Pod gets; None for what it says itself."""
        self.since = time.time()
        self.board = Board()
        self.failure: Waiting | None = None
        self.told: dict[str, Any] = {}
        """The status that was computed last."""
        self._engine = engine
        self._owned = owned
        self._pause = pause
        self._policy = back_off
        self._farewell = farewell
        self._refuses = refuses
        self._on_event = on_event
        self._on_step = on_step
        self._changed = asyncio.Event()
        self._said = ""

    def want(self, pod: Pod) -> None:
        """Run this Pod from now on, in place of what runs."""
        if pod != self.pod:
            self.pod = pod
            self._changed.set()

    def end(self, grace: int | None) -> None:
        """Stop the Pod in ``grace`` seconds, or in what it says itself, remove it, and end."""
        if not self.ending or grace != self.grace:
            self.ending, self.grace = True, grace
            self._changed.set()

    def record(
        self, view: PodView | None, host_ips: Sequence[str], runtime: str = "", *, over: bool = False
    ) -> Record | None:
        """What is known of the Pod; None when it is not known itself. ``over``: whether it has been stopped."""
        if self.pod is None:
            return None
        return Record(
            pod=self.pod,
            since=self.since,
            view=view,
            board=self.board,
            failure=self.failure,
            host_ips=host_ips,
            runtime=runtime,
            before=self.told,
            over=over,
        )

    async def run(self) -> None:
        """Until the Pod is not wanted any more and is removed."""
        kept: Pod | None = None
        while not self.ending and self.pod is not None:
            self._changed.clear()
            if kept is None or not kept.metadata.uid or kept.metadata.uid != self.pod.metadata.uid:
                self.since, self.board, self.failure, self.told = time.time(), Board(), None, {}
            kept = self.pod
            if await self._unless_changed(self._keep(kept)):
                await self._changed.wait()
        while True:
            self._changed.clear()
            if await self._unless_changed(self._remove()):
                return

    async def _unless_changed(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do it; False when it was given up, since something else is wanted now."""
        doing = asyncio.create_task(work)
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((doing, changed), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()  # raises what only a bug explains
            return doing.done()
        finally:
            for task in (doing, changed):
                task.cancel()
            await asyncio.wait((doing, changed))

    async def _keep(self, pod: Pod) -> None:
        waits = BackOff(self._policy)
        self.has_ended = False
        while True:
            try:
                if (refused := self._refuses(pod)) and not await self._is_there(pod):
                    self.failure = Waiting(refused.reason, refused.message)
                    self._say(f"is not started: {refused.message}")
                    await asyncio.sleep(AWAY_POLL)
                    continue
                ended = await self._engine.keep(
                    pod, owned=self._owned, on_event=self._tell, board=self.board, pause=self._pause
                )
            except (PodyardError, OSError) as caught:
                error = _told(caught)
                if is_away(error):
                    self._say(f"waiting for the runtime: {error}")
                    await asyncio.sleep(AWAY_POLL)
                    continue
                reason = "NameTaken" if isinstance(error, AlreadyExists) else "FailedToStart"
                self.failure = Waiting(reason, str(error))
                wait = max(waits.wait(time.time(), time.time()), AWAY_POLL)
                self._say(f"failed: {error} (tried again in {wait:.0f} s)")
                await asyncio.sleep(wait)
                continue
            self.failure = None
            if ended:
                self.has_ended = True
                self._say("has ended", logging.INFO)
                return
            self._say("its sandbox is gone or was stopped: it is started anew")
            self.board = Board()
            await asyncio.sleep(max(waits.wait(time.time(), time.time()), 0.0))

    async def _remove(self) -> None:
        """Remove all Pods of the name that are the agent's, however long that takes."""
        waits = BackOff(self._policy)
        while True:
            try:
                for view in await self._views():
                    await self._engine.halt(view, self.grace, on_event=self._tell)
                if self._farewell is not None:
                    await self._farewell.stopped(self)
                for view in await self._views():
                    await self._engine.discard(view, on_event=self._tell)
            except (PodyardError, OSError) as error:
                self._say(f"cannot be removed yet: {error}")
                await asyncio.sleep(max(AWAY_POLL, waits.wait(time.time(), time.time())))
            else:
                self._say("is removed", logging.INFO)
                if self._farewell is not None:
                    self._farewell.removed(self)
                return

    async def _is_there(self, pod: Pod) -> bool:
        """Whether something of the Pod runs, or has ended for good: then nothing is started that was not before."""
        views = await self._views()
        return any(view.ready or (is_of(view, pod) and has_ended(view, pod)) for view in views)

    async def _views(self) -> list[PodView]:
        name, namespace = _split(self.full_name)
        return [view for view in await self._engine.find(name, namespace) if self._owned(view)]

    def _tell(self, event: PodEvent) -> None:
        if self.pod is not None:
            self._on_step(self.pod, event)
        if event.state == "begun":
            return
        self.failure = None
        self._said = ""
        self._on_event()
        level = logging.WARNING if event.state == "failed" else logging.INFO
        took = "" if event.seconds is None else f" ({event.seconds:.1f} s)"
        detail = f": {event.detail}" if event.detail else ""
        failed = " failed" if event.state == "failed" else ""
        logger.log(level, "pod %s: %s %s%s%s%s", self.full_name, event.step, event.subject, failed, took, detail)

    def _say(self, text: str, level: int = logging.WARNING) -> None:
        """Log something once, not each time that it is found so."""
        if text != self._said:
            self._said = text
            logger.log(level, "pod %s: %s", self.full_name, text)


def _told(error: PodyardError | OSError) -> PodyardError:
    """What the file system says of one Pod, a full disk for one, is no reason to leave all others alone."""
    return error if isinstance(error, PodyardError) else translate(error, "looking after the pod")


def _split(full_name: str) -> tuple[str, str]:
    namespace, _, name = full_name.partition("/")
    return name, namespace
