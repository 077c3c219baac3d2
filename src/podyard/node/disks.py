"""What Pods' volumes and logs take of the disk: measured now and then, since every file has to be looked at."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podyard.errors import PodyardError
from podyard.node.filesystem import FileSystem, file_system
from podyard.pods import PodEngine, PodView
from podyard.pods.folders import PodFolder
from podyard.pods.patience import in_thread
from podyard.pods.usage import TreeUsage, tree_usage

logger = logging.getLogger(__name__)

LASTING = 60.0
"""Seconds for which a measurement is told again: a kubelet's."""
PATIENCE = 2.0
"""Seconds that whoever asks waits for a measurement; until it is there the one before is told."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A directory and the file system that it is on."""

    used: TreeUsage
    file_system: FileSystem


@dataclass(frozen=True, kw_only=True)
class PodDisk:
    """What one Pod takes."""

    time: float
    """When that was measured; seconds since 1970."""
    volumes: Mapping[str, Measured]
    """Those that podyard makes, by name."""
    logs: Mapping[str, Measured]
    """By container."""


class DiskUsage:
    """Measures Pods one after the other, one measurement at a time."""

    def __init__(self, engine: PodEngine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._known: dict[str, PodDisk] = {}
        self._task: asyncio.Task[None] | None = None

    async def read(self, views: Sequence[PodView]) -> Mapping[str, PodDisk]:
        """What is known of Pods, by uid; one that has just come may be missing."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._measure(views))
        await asyncio.wait((self._task,), timeout=PATIENCE)
        return dict(self._known)

    async def close(self) -> None:
        """Give up what is being measured."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _measure(self, views: Sequence[PodView]) -> None:
        uids = {view.uid for view in views}
        self._known = {uid: disk for uid, disk in self._known.items() if uid in uids}
        for view in views:
            known = self._known.get(view.uid)
            if known is not None and 0 <= self._clock() - known.time < LASTING:
                continue
            try:
                self._known[view.uid] = await in_thread(measured, self._engine.folder(view), self._clock())
            except (PodyardError, OSError) as error:
                logger.debug("the disk that pod %s takes is not known: %s", view.full_name, error)


def measured(folder: PodFolder, now: float) -> PodDisk:
    """Measure one Pod. For a thread. Raises OSError."""
    volumes = sorted(folder.volumes.iterdir()) if folder.volumes.is_dir() else []
    logs = sorted(path for path in folder.logs.iterdir() if path.is_dir()) if folder.logs.is_dir() else []
    return PodDisk(
        time=now,
        volumes={path.name: Measured(used=tree_usage(path), file_system=file_system(path)) for path in volumes},
        logs={path.name: Measured(used=tree_usage(path), file_system=file_system(path)) for path in logs},
    )
