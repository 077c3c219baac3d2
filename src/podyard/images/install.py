"""Brings the layers of an image to the disk: each is fetched once and unpacked once, however many pulls want it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from podyard.errors import PodyardError
from podyard.images.content import ContentStore
from podyard.images.counts import Counts
from podyard.images.progress import LayerProgress
from podyard.images.shared import Shared
from podyard.images.snapshots import Snapshots
from podyard.images.sources import Contents, Layer, Source

SMALL = 128 << 10
"""Bytes of a blob that is unpacked sooner than a worker is forked: one worker unpacks several such layers in turn."""
SMALL_LIMIT = 32
"""Layers that one worker unpacks in turn."""
UNPACKING_LIMIT = 4
"""Layers that are unpacked at the same time, over all pulls, on hosts with as many processors."""


@dataclass(frozen=True)
class _Install:
    """An image on its way. ``chain``: the chain ids of its layers, the lowest first.

    ``fetching`` bounds how many layers it fetches at a time. Each has its own bound: else an image whose registry has
    stopped answering would hold up those of all others.
    """

    source: Source
    layers: Sequence[Layer]
    chain: Sequence[str]
    fetching: asyncio.Semaphore

    def small(self, position: int) -> int:
        """How many layers that are small follow each other from ``position`` on, up to the limit."""
        following = self.layers[position : position + SMALL_LIMIT]
        return next((count for count, layer in enumerate(following) if layer.size > SMALL), len(following))


class Installer:
    """Fetches layers side by side and unpacks them side by side, begun in order.

    The order matters: a layer may leave out a directory that an earlier one has, which gives its owner and mode then.
    A worker that meets one waits until the layers below are whole.
    """

    def __init__(self, content: ContentStore, snapshots: Snapshots, parallel: int, counts: Counts) -> None:
        self._content = content
        self._snapshots = snapshots
        self._counts = counts
        self._parallel = parallel
        self._unpacking = asyncio.Semaphore(min(max(os.cpu_count() or 1, 2), UNPACKING_LIMIT))
        self._blobs = Shared[Path](dispose=self._dispose)
        # Blobs that are whole and that somebody may want to unpack still, and those that nobody has unpacked yet.
        self._whole: set[Path] = set()
        self._unused: set[Path] = set()
        self._chains = Shared[None]()
        # The progress of each layer in the making, so that every pull that waits for it shows it.
        self._progress: WeakValueDictionary[str, LayerProgress] = WeakValueDictionary()

    async def install(self, source: Source, contents: Contents, progress: list[LayerProgress]) -> None:
        """Unpack all layers that are not here. ``progress`` gets an entry for each of the image's layers.

        Raises what the source and unpack_layer raise, OSError when the disk is full. Layers that were finished stay,
        and blobs that may be of use, whole or not.
        """
        image = _Install(source, contents.layers, contents.chain, asyncio.Semaphore(self._parallel))
        progress.extend(self._show(layer, chain_id) for layer, chain_id in zip(image.layers, image.chain, strict=True))
        try:
            async with together() as group:
                for position in range(len(image.layers)):
                    group.create_task(self._layer(image, position))
        finally:
            self._snapshots.release(image.chain)

    async def _layer(self, image: _Install, position: int) -> None:
        """See to it that one layer and those below it are unpacked."""
        chain_id = image.chain[position]
        if chain_id in self._snapshots:
            return
        async with self._chains.use(chain_id, lambda: self._make(image, position)):
            return

    async def _make(self, image: _Install, position: int) -> None:
        layer = image.layers[position]
        progress = self._show(layer, image.chain[position])
        async with self._blobs.use(layer.key, lambda: self._fetch(image, layer, progress)) as blob:
            self._unused.add(blob)
            async with together() as group:
                if position > 0:
                    group.create_task(self._layer(image, position - 1))
                await self._unpack(blob, image, position, progress)
            self._unused.discard(blob)

    async def _unpack(self, blob: Path, image: _Install, position: int, progress: LayerProgress) -> None:
        """Unpack one layer while the one below may still be at it.

        Who gets to unpack has begun after those below: so the lowest of those that wait for each other never waits.
        """
        layer, chain, small = image.layers[position], image.chain[: position + 1], image.small(position)
        whole = False
        while not whole:
            # Not only the one right below: on a damaged disk that may be here without those that it stands on.
            await self._snapshots.begun(chain[:-1])
            async with self._unpacking:
                progress.state = "unpacking"
                try:
                    whole = await self._snapshots.unpack(blob, layer.media_type, chain, layer.diff_id, small)
                except PodyardError:
                    self._unused.discard(blob)
                    raise
        progress.state = "done"
        self._counts.unpacked += 1

    async def _fetch(self, image: _Install, layer: Layer, progress: LayerProgress) -> Path:
        def show(done: int) -> None:
            self._counts.fetched += max(0, done - progress.done)
            progress.done = done

        async with image.fetching:
            progress.state = "downloading"
            with self._content.writer(layer.digest or None, layer.size) as writer:
                await writer.resume()
                progress.done = writer.offset
                try:
                    await image.source.layer(layer, writer, show)
                finally:
                    show(writer.offset)  # what came when the pull was cancelled stays, too
            self._whole.add(writer.path)
            return writer.path

    async def settled(self) -> None:
        """Wait until what was cancelled has ended."""
        await self._chains.settled()
        await self._blobs.settled()

    def busy(self) -> set[Path]:
        """Blobs that are about to be unpacked."""
        return set(self._whole)

    def _dispose(self, blob: Path) -> None:
        self._whole.discard(blob)
        # A temporary file is of no use to the next pull, which could not find it.
        if blob not in self._unused or not self._content.is_part(blob):
            blob.unlink(missing_ok=True)
        self._unused.discard(blob)

    def _show(self, layer: Layer, chain_id: str) -> LayerProgress:
        if chain_id in self._snapshots:
            return LayerProgress(layer.key, layer.size, "shared", layer.size)
        known = self._progress.get(chain_id)
        if known is None:
            known = self._progress[chain_id] = LayerProgress(layer.key, layer.size)
        return known


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks of which the first that fails cancels the others, and is the failure of all."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
