"""A Pod that is kept while a test does something to it, on the runtime of tests/unit/pods/conftest.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from podyard.manifest.model import Pod
from podyard.pods import Board, PodEngine

MakePod = Callable[..., Pod]


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def keeping(engine: PodEngine, pod: Pod, board: Board | None = None) -> AsyncIterator[asyncio.Task[bool]]:
    """Keep a Pod while the block lasts: its end is that of an agent that is killed."""
    task = asyncio.create_task(engine.keep(pod, owned=lambda view: True, board=board))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def starts(runtime: Any, name: str = "main") -> int:
    count: int = runtime.calls.count(f"StartContainer {name}")
    return count


def runs(runtime: Any, name: str) -> Callable[[], bool]:
    return lambda: starts(runtime, name) > 0
