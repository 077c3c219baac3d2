"""All that the node does so that it does not run full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from podyard.client import Client
from podyard.errors import PodyardError, translate
from podyard.manifest.model import Pod
from podyard.node.agent import Agent
from podyard.node.housekeeping import measure
from podyard.node.housekeeping.eviction import Evictor
from podyard.node.housekeeping.images import ImageCollector
from podyard.node.housekeeping.logs import LogRotation
from podyard.node.housekeeping.ranking import Candidate
from podyard.node.housekeeping.settings import Settings
from podyard.node.housekeeping.signals import Observed, observe
from podyard.node.housekeeping.thresholds import Signal
from podyard.node.usage import image_disk, root_of
from podyard.pods import PodEngine, PodView, leftovers
from podyard.pods.verdict import Verdict

logger = logging.getLogger(__name__)

IMAGES_EVERY = 300.0
"""Seconds; this and the next are a kubelet's."""
LEFTOVERS_EVERY = 60.0


class Housekeeper:
    """Removes dead containers, files of Pods that are gone and unused images, rotates logs, and evicts Pods.

    ``pod_root`` is on the file system that Pods' volumes are on.
    """

    def __init__(self, client: Client, engine: PodEngine, agent: Agent, settings: Settings, pod_root: Path) -> None:
        self._client = client
        self._engine = engine
        self._agent = agent
        self._settings = settings
        self._pod_root = pod_root
        self._logs = LogRotation(client, agent, engine.folders, settings)
        self._images = ImageCollector(client, settings, self._pods)
        self._image_root: Path | None = None
        self.evictor = Evictor(
            self, settings.thresholds, transition=settings.transition, longest_grace=settings.longest_grace
        )

    async def run(self) -> None:
        """For ever, until cancelled."""
        await self._agent.has_looked.wait()  # until then all that runs looks as if nobody wanted it
        async with asyncio.TaskGroup() as group:
            group.create_task(_regularly(self.evictor.look, self._settings.interval, "looking at what is left"))
            group.create_task(_regularly(self._logs.look, self._settings.interval, "rotating logs"))
            group.create_task(_regularly(self._images.collect, IMAGES_EVERY, "removing unused images"))
            group.create_task(_regularly(self.tidy, LEFTOVERS_EVERY, "removing dead containers"))

    async def tidy(self, hard: bool = False) -> None:
        """Remove what Pods have left behind. ``hard``: all that can go. Raises what the runtime answers, and what
        removing the files of Pods raises that are gone."""
        for view in await self._engine.list():
            if not self._agent.owns(view):
                continue
            try:
                await leftovers.tidy(self._client, self._engine.folder(view), view, hard=hard)
            except (PodyardError, OSError) as error:
                logger.warning("what pod %s left is not removed yet: %s", view.full_name, error)
        for name in await leftovers.remove_orphans(self._client, self._engine):
            logger.info("removed the files of pod %s, which is gone", name)

    async def observe(self) -> Observed:
        """What the machine has left. While the runtime is away, images are taken to be where they were."""
        try:
            self._image_root = root_of(await image_disk(self._client))
        except PodyardError as error:
            logger.debug("the images' file system is not asked for: %s", error)
        try:
            return await asyncio.to_thread(observe, self._pod_root, self._image_root)
        except (OSError, ValueError, KeyError) as error:
            raise translate(error, "reading what the machine has left") from error

    async def candidates(self, signal: Signal, own_image_disk: bool) -> list[Candidate]:
        """The agent's Pods that run, and what they use."""
        return await measure.candidates(self._client, self._engine, self._agent, signal, own_image_disk)

    async def reclaim(self, images: bool) -> None:
        """Remove all dead containers that can go, and unused images."""
        await self.tidy(hard=True)
        if images:
            await self._images.remove_unused()

    async def end(self, view: PodView, verdict: Verdict) -> None:
        """End a Pod for good."""
        await self._engine.end(view, verdict)

    def _pods(self) -> list[Pod]:
        """Those that may need their images again."""
        workers = self._agent.workers.values()
        return [one.pod for one in workers if one.pod is not None and not one.ending and not one.has_ended]


async def _regularly(work: Callable[[], Awaitable[None]], pause: float, name: str) -> None:
    """Do it for ever. What fails is told once, and tried again after the pause."""
    said = ""
    while True:
        try:
            await work()
        except (PodyardError, OSError) as error:
            if str(error) != said:
                said = str(error)
                logger.warning("%s failed: %s", name, error)
        else:
            said = ""
        await asyncio.sleep(pause)
