"""The size of containers' writable layers, measured one after the other in the background and kept.

Whoever asks gets the last size. Measuring takes a small part of the time however large the layers are, and a disk that
hangs holds one thread and no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from podyard.stats.tree import measure
from podyard.stats.usage import Disk

logger = logging.getLogger(__name__)

FIRST_LOOK = 0.25
"""Seconds that a call waits for the size of what was never measured: a new container's layer takes less than 1 ms."""

PAUSE_FACTOR = 4
"""Times the duration of a measurement that follow it in rest: at most a fifth of one processor's time."""

AGAIN_FACTOR = 20
"""Times the duration of a measurement until the same tree is measured again, where that is longer than the interval."""


class _Layer:
    """One writable layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk: Disk | None = None
        self.due = 0.0
        self.looked = asyncio.Event()


class Disks:
    """Sizes by container id."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._layers: dict[str, _Layer] = {}
        self._changed = asyncio.Event()

    def keep(self, folders: Mapping[str, Path]) -> None:
        """Measure these from now on, and forget all others."""
        self._layers = {id_: self._layers.get(id_) or _Layer(folder) for id_, folder in folders.items()}
        self._changed.set()

    async def look(self, folders: Mapping[str, Path]) -> dict[str, Disk]:
        """The sizes; those that were never measured are waited for, FIRST_LOOK seconds at most, or left out."""
        for id_, folder in folders.items():
            if id_ not in self._layers:
                self._layers[id_] = _Layer(folder)
                self._changed.set()
        layers = {id_: self._layers[id_] for id_ in folders}
        await self._settle(layer for layer in layers.values() if not layer.looked.is_set())
        return {id_: layer.disk for id_, layer in layers.items() if layer.disk is not None}

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            layer = min(self._layers.values(), key=lambda one: one.due, default=None)
            wait = None if layer is None else layer.due - time.monotonic()
            if layer is None or (wait is not None and wait > 0):
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                continue
            began = time.monotonic()
            try:
                layer.disk = await asyncio.to_thread(measure, layer.folder)
            except OSError as error:
                # The container is being removed, or its disk is at fault: what was known stays.
                logger.debug("cannot measure %s: %s", layer.folder, error)
            took = time.monotonic() - began
            layer.due = began + took + max(self._interval, took * AGAIN_FACTOR)
            layer.looked.set()
            await asyncio.sleep(took * PAUSE_FACTOR)

    async def _settle(self, layers: Iterable[_Layer]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                for layer in layers:
                    await layer.looked.wait()
