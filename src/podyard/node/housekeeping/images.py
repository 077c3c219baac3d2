"""Images that nobody uses (Kubernetes documentation, "Garbage Collection" of containers and images)."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError
from podyard.manifest.model import Pod
from podyard.node.filesystem import FileSystem, file_system
from podyard.node.housekeeping.settings import Settings
from podyard.node.usage import image_disk, root_of

logger = logging.getLogger(__name__)


@dataclass
class Known:
    """An image, as it was found. Times: seconds, of the collector's clock."""

    id: str
    size: int
    pinned: bool
    first_seen: float
    last_used: float = -math.inf


class ImageCollector:
    """Removes images that are not used, the longest unused first.

    ``pods``: the Pods that the node works on, whose images may be about to be used.
    """

    def __init__(
        self,
        client: Client,
        settings: Settings,
        pods: Callable[[], Iterable[Pod]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self._pods = pods
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._began = math.inf
        """When the first look was taken."""

    async def collect(self) -> None:
        """Remove what is too old, and where the disk is fuller than it may be, as many more as it takes."""
        unused = await self._unused()
        if longest := self._settings.image_longest_age:
            # Nobody knows what was used before this agent began to look.
            old = [one for one in unused if self._clock() - max(self._began, one.first_seen, one.last_used) > longest]
            unused = [one for one in unused if one not in old]
            await self._remove(old, math.inf)
        disk = await image_disk(self._client)
        if (root := root_of(disk)) is None:
            return  # nobody knows where images are
        wanted = excess(await asyncio.to_thread(file_system, root), self._settings)
        if wanted and (freed := await self._remove(unused, wanted)) < wanted:
            logger.warning(
                "the images' disk is %d bytes fuller than it is to be, and images that nobody uses free %d",
                wanted,
                freed,
            )

    async def remove_unused(self) -> None:
        """Remove all images that are not used, since room is short."""
        await self._remove(await self._unused(), math.inf)

    async def _unused(self) -> list[Known]:
        """What may be removed, the longest unused first."""
        images = await self._client.images.list_images()
        used = await self._used(images)
        now = self._clock()
        # What is there before the first look is old enough to go.
        first = now if self._began <= now else -math.inf
        self._began = min(self._began, now)
        for image in images:
            known = self._known.setdefault(image.id, Known(image.id, image.size, image.pinned, first))
            known.size, known.pinned = image.size, image.pinned
            if image.id in used:
                known.last_used = now
        there = {image.id for image in images}
        self._known = {id: known for id, known in self._known.items() if id in there}
        return removable(self._known.values(), used, now, self._settings.image_least_age)

    async def _used(self, images: Sequence[api.Image]) -> set[str]:
        names = {name: image.id for image in images for name in (image.id, *image.repo_tags, *image.repo_digests)}
        found = set()
        for container in await self._client.runtime.list_containers():
            for name in (container.image_id, container.image_ref, container.image.image):
                if name in names:
                    found.add(names[name])
        wanted = {name for pod in self._pods() for name in images_of(pod)}
        if self._settings.sandbox_image:
            wanted.add(self._settings.sandbox_image)
        for name in wanted:
            found.add((await self._client.images.image_status(name)).image.id)
        return found

    async def _remove(self, images: Sequence[Known], wanted: float) -> int:
        freed = 0
        for image in images:
            if freed >= wanted:
                break
            try:
                await self._client.images.remove_image(image.id)
            except PodyardError as error:
                logger.warning("the unused image %s cannot be removed: %s", image.id, error)
                continue
            freed += image.size
            self._known.pop(image.id, None)
            logger.info("removed the image %s, which nobody uses (%d bytes)", image.id, image.size)
        return freed


def excess(disk: FileSystem, settings: Settings) -> int:
    """How many bytes are to be freed: none while less is used than the high threshold, else down to the low one. A high
    threshold of 100 per cent is never reached."""
    if (
        settings.image_high == 100
        or not disk.capacity
        or 100 - disk.available * 100 // disk.capacity < settings.image_high
    ):
        return 0
    return max(0, disk.capacity * (100 - settings.image_low) // 100 - disk.available)


def removable(known: Iterable[Known], used: set[str], now: float, least_age: float) -> list[Known]:
    """The images that may be removed, in the order in which they are."""
    found = [one for one in known if one.id not in used and not one.pinned and now - one.first_seen >= least_age]
    return sorted(found, key=lambda one: (one.last_used, one.first_seen))


def images_of(pod: Pod) -> set[str]:
    """The images that a Pod names."""
    containers = (*pod.all_containers(), *pod.spec.ephemeral_containers)
    volumes = (volume.image.reference for volume in pod.spec.volumes if volume.image is not None)
    return {*(container.image for container in containers), *volumes}
