"""Waiting for news."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, ``seconds`` at most.

    ``asyncio.wait_for`` would do, but up to Python 3.11 it loses a cancellation that comes together with the event.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
