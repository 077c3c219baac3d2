"""Waiting: for what only polling can tell, across a restart of the endpoint, and for file systems."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from podyard.client import Client
from podyard.cri import api
from podyard.errors import Cancelled, DeadlineExceeded, PodyardError, RegistryUnavailable, Unavailable

ABSENCE = 120.0
"""Seconds for which an endpoint may be away: a restart takes much less."""
_AWAY_POLL = 1.0
CANCEL_LIMIT = 5.0
"""Seconds in which an ordinary file system has done what it was asked for."""
_QUICK, _SLOW = 0.05, 0.5
VOLUME_LIMIT = 120.0
"""Seconds for the host side of volumes: a hung network file system must not hang more than this."""

T = TypeVar("T")


def is_away(error: PodyardError) -> bool:
    """Whether an endpoint has ended, ends, or has just been started: what was asked of it has not failed."""
    return isinstance(error, (Unavailable, Cancelled)) and not isinstance(error, RegistryUnavailable)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that changes nothing, repeated while the endpoint is away.

    Raises the last such error after ``ABSENCE`` seconds (Unavailable, DeadlineExceeded, or Cancelled, which is what an
    endpoint answers that ends), and any other error at once.
    """
    until = time.monotonic() + ABSENCE
    while True:
        try:
            return await call()
        except (Unavailable, DeadlineExceeded, Cancelled):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_AWAY_POLL)


async def until_ended(client: Client, container_id: str) -> api.ContainerStatus:
    """The status of a container when it has ended. How long that takes is the container's business.

    Raises NotFound when it is removed.
    """
    pause = _QUICK
    while True:
        response = await patiently(lambda: client.runtime.container_status(container_id))
        if response.status.state == api.CONTAINER_EXITED:
            return response.status
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _SLOW)


async def in_thread(function: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """Run what may block. Raises DeadlineExceeded after ``VOLUME_LIMIT`` seconds; a hung thread is left behind.

    Who cancels it waits for the thread for a while, since what it works on may be removed next.
    """
    work = asyncio.create_task(asyncio.to_thread(function, *arguments, **more))
    try:
        await asyncio.wait((work,), timeout=VOLUME_LIMIT)
    except asyncio.CancelledError:
        await asyncio.wait((work,), timeout=CANCEL_LIMIT)
        raise
    finally:
        hangs = work.cancel()
    if hangs:
        raise DeadlineExceeded(f"the file system below the Pod's volumes did not answer within {VOLUME_LIMIT:.0f} s")
    return work.result()
