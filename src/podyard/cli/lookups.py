"""Answers about many objects at once, some of which may go away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from podyard.cli import view
from podyard.errors import NotFound

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api

Answer = TypeVar("Answer")

AT_ONCE = 16
"""Calls in flight: enough to hide their latency, few for a busy runtime."""


async def exited_statuses(client: Client, containers: Iterable[api.Container]) -> dict[str, api.ContainerStatus]:
    """The status of each container that has ended, by id: lists have no exit codes."""
    wanted = [one.id for one in containers if one.state == view.EXITED]
    answers = await _all(wanted, client.runtime.container_status)
    return {id_: answer.status for id_, answer in answers.items()}


async def image_status(client: Client, image: str, *, verbose: bool = False) -> api.ImageStatusResponse:
    """The status of an image. Raises NotFound: the protocol answers with an empty message instead."""
    answer = await client.images.image_status(image, verbose=verbose)
    if not answer.HasField("image"):
        raise NotFound(f'no image goes by {image!r}; see "podyard images"')
    return answer


async def _all(ids: list[str], ask: Callable[[str], Awaitable[Answer]]) -> dict[str, Answer]:
    """Answers by id, without those of objects that are gone by now."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(id_: str) -> tuple[str, Answer] | None:
        async with free:
            try:
                return id_, await ask(id_)
            except NotFound:
                return None

    return dict(found for found in await asyncio.gather(*map(one, ids)) if found is not None)
