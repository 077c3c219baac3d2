"""Ending Pods before the machine runs out of something (Kubernetes documentation, "Node-pressure Eviction")."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from podyard.errors import PodyardError
from podyard.manifest.model import Pod
from podyard.manifest.translate.resources import qos_class
from podyard.node.housekeeping.ranking import Candidate, message_of, ranked, refusal
from podyard.node.housekeeping.signals import Observed
from podyard.node.housekeeping.state import CONDITIONS, PressureState
from podyard.node.housekeeping.thresholds import Signal, Threshold
from podyard.node.wanted import Rejection
from podyard.pods import PodView
from podyard.pods.verdict import Verdict

logger = logging.getLogger(__name__)

HARD_GRACE = 1
"""Seconds that a Pod gets that a hard threshold ends: a kubelet's."""
END_LIMIT = 30.0
"""Seconds in which it has ended; else the next look goes on."""


class Means(Protocol):
    """What evictions are made with."""

    async def observe(self) -> Observed:
        """What the machine has left."""

    async def candidates(self, signal: Signal, own_image_disk: bool) -> list[Candidate]:
        """The Pods that run, and what they use."""

    async def reclaim(self, images: bool) -> None:
        """Remove what no Pod needs: dead containers, and images."""

    async def end(self, view: PodView, verdict: Verdict) -> None:
        """End a Pod for good."""


class Evictor:
    """Looks at what is left, keeps the node's conditions, and ends one Pod at a time."""

    def __init__(
        self,
        means: Means,
        thresholds: Sequence[Threshold],
        *,
        transition: float,
        longest_grace: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._means = means
        self._state = PressureState(thresholds, transition)
        self._longest_grace = longest_grace
        self._clock = clock
        self._helpless: Threshold | None = None
        """For what no Pod could be ended at the last look."""
        self._said: Mapping[str, str] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when the node's conditions change."""
        self.on_eviction: Callable[[Pod, str, str], None] = lambda pod, signal, message: None
        """Called with each Pod that is about to be ended, what runs short, and by which figures."""

    def conditions(self) -> Mapping[str, str]:
        """What the machine runs out of, or did lately, and by which figures."""
        return self._state.conditions(self._clock())

    def refuses(self, pod: Pod) -> Rejection | None:
        """Why the node takes no such Pod now; None when it does."""
        there = self.conditions()
        kinds = [kind for kind in dict.fromkeys(CONDITIONS.values()) if kind in there]
        why = refusal(pod, kinds, best_effort=qos_class(pod) == "BestEffort")
        return Rejection("Evicted", why) if why else None

    async def look(self) -> None:
        """Look once, and end one Pod where that must be. Raises what the runtime answers, and Internal for a machine
        that cannot be read."""
        observed = await self._means.observe()
        due = self._state.look(observed.signals, self._clock())
        self._tell()
        if not due:
            self._helpless = None
            return
        threshold = due[0]
        if CONDITIONS[threshold.signal] == "DiskPressure":
            await self._means.reclaim(not observed.own_image_disk or threshold.signal.startswith("imagefs"))
            observed = await self._means.observe()
            if not self._state.is_met(threshold, observed.signals):
                logger.info("there is enough again, without ending a pod: %s", threshold.signal)
                return
        for victim in ranked(await self._means.candidates(threshold.signal, observed.own_image_disk)):
            if await self._end(victim, threshold, observed):
                return
        if threshold != self._helpless:
            logger.warning("%s is low, and there is no pod that may be ended for it", threshold.signal)
        self._helpless = threshold

    async def _end(self, victim: Candidate, threshold: Threshold, observed: Observed) -> bool:
        message = message_of(threshold, observed.signals[threshold.signal], victim)
        grace = HARD_GRACE
        if threshold.grace is not None:
            grace = min(self._longest_grace, victim.pod.spec.termination_grace_period_seconds)
        logger.warning("evicting pod %s: %s", victim.view.full_name, message)
        self.on_eviction(victim.pod, threshold.signal, message)
        verdict = Verdict("Evicted", message, disruption=True, grace=grace)
        return await self._done(self._means.end(victim.view, verdict), victim.view.full_name)

    async def _done(self, ending: Awaitable[None], name: str) -> bool:
        try:
            async with asyncio.timeout(END_LIMIT):
                await ending
        except TimeoutError:
            logger.warning("pod %s has not ended within %.0f s of its eviction", name, END_LIMIT)
        except PodyardError as error:
            logger.warning("pod %s cannot be evicted: %s", name, error)
            return False
        return True

    def _tell(self) -> None:
        now = self.conditions()
        if now.keys() != self._said.keys():
            for kind in now.keys() - self._said.keys():
                logger.warning("the node has %s: %s", kind, now[kind])
            for kind in self._said.keys() - now.keys():
                logger.info("the node has no %s any more", kind)
            self.on_change()
        self._said = now
