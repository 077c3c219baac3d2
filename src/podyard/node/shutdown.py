"""Ending Pods before the machine goes down (Kubernetes documentation, "Graceful node shutdown")."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from podyard.errors import FailedPrecondition, PodyardError
from podyard.manifest.model import Pod
from podyard.node import logind
from podyard.node.agent import Agent
from podyard.node.housekeeping.ranking import is_critical
from podyard.node.wanted import Rejection
from podyard.pods import PodEngine, PodView
from podyard.pods.verdict import Verdict

logger = logging.getLogger(__name__)

AGAIN = 5.0
"""Seconds after which logind is asked again that could not be reached."""
MARGIN = 2.0
"""Seconds beyond its time for a runtime to kill what has not ended by itself."""
_TERMINATED = "Pod was terminated in response to imminent node shutdown."
"""In a kubelet's words."""
_GOING_DOWN = "the node is shutting down"


@dataclass(frozen=True, kw_only=True)
class Grace:
    """Seconds that Pods get to end by themselves: a kubelet's shutdownGracePeriod, and critical Pods' part of it."""

    whole: float
    critical: float = 0.0


class Shutdown:
    """Lets a shutdown wait until the agent's Pods have ended, critical ones last."""

    def __init__(self, engine: PodEngine, agent: Agent, grace: Grace) -> None:
        self._engine = engine
        self._agent = agent
        self._grace = grace
        self.on_change: Callable[[], None] = lambda: None
        """Called when the machine begins to go down, and when it stays up after all."""

    async def check(self) -> None:
        """Raises FailedPrecondition where a shutdown is not noticed, or waits for too short a time."""
        longest = await logind.longest_delay()
        if longest < self._grace.whole:
            raise FailedPrecondition(
                f"--shutdown-grace-period: systemd-logind lets a shutdown wait for {longest:g} s, not "
                f"{self._grace.whole:g}: set InhibitDelayMaxSec={self._grace.whole:g} in /etc/systemd/logind.conf and "
                "run systemctl kill -s HUP systemd-logind"
            )

    def refuses(self, pod: Pod) -> Rejection | None:
        """Why no Pod is started now; None while the machine stays up."""
        return Rejection("NodeShutdown", f"Pod was rejected as {_GOING_DOWN}.") if self._agent.going_down else None

    async def run(self) -> None:
        """For ever, until cancelled."""
        while True:
            try:
                await self._watch()
            except PodyardError as error:
                logger.warning("a shutdown is not noticed now: %s", error)
            await asyncio.sleep(AGAIN)

    async def _watch(self) -> None:
        async with aclosing(logind.shutdowns()) as signals:
            begins = await anext(signals)
            while True:
                self._turn("")
                async with logind.delayed("podyard node", "Pods are ended before the machine goes down"):
                    while not begins:
                        begins = await anext(signals)
                    logger.warning("the machine is shut down: the pods are ended")
                    self._turn(_GOING_DOWN)
                    await self.end_pods()
                while begins:
                    begins = await anext(signals)
                logger.warning("the shutdown was called off: the node's own pods are started again")

    def _turn(self, trouble: str) -> None:
        if trouble != self._agent.going_down:
            self._agent.going_down = trouble
            self.on_change()

    async def end_pods(self) -> None:
        """End the agent's Pods: critical ones after the others, in their part of the time."""
        try:
            views = [view for view in await self._engine.list() if self._agent.owns(view) and view.ready]
        except PodyardError as error:
            logger.warning("the pods are not ended before the shutdown: %s", error)
            return
        critical = [view for view in views if self._is_critical(view)]
        others = [view for view in views if view not in critical]
        await self._end_together(others, self._grace.whole - self._grace.critical)
        await self._end_together(critical, self._grace.critical)

    async def _end_together(self, views: Sequence[PodView], grace: float) -> None:
        try:
            async with asyncio.timeout(grace + MARGIN):
                await asyncio.gather(*(self._end(view, int(grace)) for view in views))
        except TimeoutError:
            logger.warning("some pods have not ended within %.0f s", grace)

    async def _end(self, view: PodView, longest: int) -> None:
        pod = self._pod(view)
        grace = min(longest, pod.spec.termination_grace_period_seconds) if pod is not None else longest
        try:
            if pod is not None and pod.metadata.uid:
                verdict = Verdict("Terminated", _TERMINATED, disruption=True, grace=grace)
                await self._engine.end(view, verdict)
            else:  # one of the node's own is started again when the machine is
                await self._engine.halt(view, grace)
        except PodyardError as error:
            logger.warning("pod %s has not ended: %s", view.full_name, error)

    def _is_critical(self, view: PodView) -> bool:
        pod = self._pod(view)
        return pod is not None and is_critical(pod)

    def _pod(self, view: PodView) -> Pod | None:
        worker = self._agent.workers.get(view.full_name)
        return worker.pod if worker is not None else None
