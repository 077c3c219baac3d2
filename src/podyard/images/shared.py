"""Work that several want at the same time is done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podyard.errors import PodyardError

Result = TypeVar("Result")


@dataclass(eq=False)
class _Job(Generic[Result]):
    task: asyncio.Task[Result]
    users: int = 0


class Shared(Generic[Result]):
    """Jobs by key. A job lasts as long as somebody uses it: its result is disposed of when the last one leaves, and a
    job that is still going on then is cancelled.

    Who joins a job of another and sees it fail tries for itself: the other may have had the wrong credentials.
    """

    def __init__(self, dispose: Callable[[Result], None] | None = None) -> None:
        self._jobs: dict[str, _Job[Result]] = {}
        self._dispose = dispose
        self._ending: set[asyncio.Task[Result]] = set()

    async def settled(self) -> None:
        """Wait until the jobs that nobody uses any more have ended."""
        while self._ending:
            await asyncio.wait(self._ending)

    @asynccontextmanager
    async def use(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> AsyncIterator[Result]:
        """The result of ``work``, or of the job that is going on under the same key. Raises what ``work`` raises."""
        job, own = self._enter(key, work)
        try:
            while True:
                try:
                    result = await asyncio.shield(job.task)
                    break
                except PodyardError:
                    if own:
                        raise
                    await self._leave(key, job)
                    job, own = self._enter(key, work)
            yield result
        finally:
            await self._leave(key, job)

    def _enter(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> tuple[_Job[Result], bool]:
        job = self._jobs.get(key)
        own = job is None or (job.task.done() and job.task.exception() is not None)
        if job is None or own:
            job = self._jobs[key] = _Job(asyncio.create_task(work()))
        job.users += 1
        return job, own

    async def _leave(self, key: str, job: _Job[Result]) -> None:
        job.users -= 1
        if job.users:
            return
        if self._jobs.get(key) is job:
            del self._jobs[key]
        if job.task.done():
            self._end(job.task)
            return
        self._ending.add(job.task)
        job.task.add_done_callback(self._end)
        job.task.cancel()
        # Who leaves may be cancelled once more: the job ends all the same.
        await asyncio.wait([job.task])

    def _end(self, task: asyncio.Task[Result]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and task.exception() is None and self._dispose is not None:
            self._dispose(task.result())
