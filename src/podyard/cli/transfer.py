"""A pull as it happens: the runtime is asked what has arrived while the call lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from podyard.cli.steps import Steps, steps
from podyard.errors import InvalidArgument, PodyardError, Unimplemented
from podyard.model import reference

if TYPE_CHECKING:
    from podyard.client import Client

INTERVAL = 0.2
"""Seconds between two questions."""

STEP = "pulling the image"


async def pull_showing(client: Client, image: str) -> str:
    """Pull an image and show it; the image's id."""
    from podyard.pods import PodEvent

    began = time.monotonic()
    with steps() as display:
        display.event(PodEvent(step=STEP, subject=image, state="begun"))
        try:
            async with watched(client, display, {image}):
                image_id = await client.images.pull_image(image)
        except PodyardError:
            display.event(PodEvent(step=STEP, subject=image, state="failed", seconds=time.monotonic() - began))
            raise
        display.event(
            PodEvent(step=STEP, subject=image, state="done", seconds=time.monotonic() - began, detail=image_id)
        )
    return image_id


@asynccontextmanager
async def watched(client: Client, display: Steps, images: Collection[str]) -> AsyncIterator[None]:
    """Show the pulls of ``images`` while the block lasts, where the runtime can tell of them."""
    names = {_full_name(image) for image in images}
    task = asyncio.create_task(_watch(client, display, names))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def is_pulled(client: Client, image: str) -> bool:
    """Whether the runtime tells that it is pulling an image."""
    try:
        found = await client.admin.list_pulls()
    except PodyardError:
        return False
    return any(_full_name(pull.reference) == _full_name(image) for pull in found)


async def _watch(client: Client, display: Steps, names: Collection[str]) -> None:
    while True:
        try:
            found = await client.admin.list_pulls()
        except Unimplemented:
            return  # not podyard, or an older one: there is the time that it takes
        except PodyardError:
            found = []  # whatever is wrong with the runtime, the pull itself says it
        display.pulls([pull for pull in found if _full_name(pull.reference) in names])
        await asyncio.sleep(INTERVAL)


def _full_name(image: str) -> str:
    try:
        return str(reference.parse(image).pinned)
    except InvalidArgument:
        return image
