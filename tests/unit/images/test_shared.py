"""Work that is done once for several."""

from __future__ import annotations

import asyncio

import pytest

from podyard.errors import NotFound
from podyard.images.shared import Shared


async def test_work_is_done_once_and_disposed_of_by_the_last() -> None:
    disposed: list[str] = []
    shared = Shared[str](disposed.append)
    begun = 0
    inside = 0
    leave = asyncio.Event()

    async def work() -> str:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        return "result"

    async def use(stay: bool) -> None:
        nonlocal inside
        async with shared.use("key", work) as result:
            assert result == "result"
            inside += 1
            if stay:
                await leave.wait()

    users = [asyncio.create_task(use(stay)) for stay in (True, False, True)]
    while inside < 3:
        await asyncio.sleep(0)
    assert (begun, disposed) == (1, [])
    leave.set()
    await asyncio.gather(*users)
    assert (begun, disposed) == (1, ["result"])
    await use(False)
    assert (begun, disposed) == (2, ["result", "result"])


async def test_work_goes_on_until_the_last_user_is_cancelled() -> None:
    shared = Shared[None]()
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def use() -> None:
        async with shared.use("key", work):
            raise AssertionError

    users = [asyncio.create_task(use()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    users[0].cancel()
    await asyncio.wait([users[0]])
    assert ended == []
    users[1].cancel()
    await asyncio.wait([users[1]])
    assert ended == ["cancelled"]


async def test_who_joined_a_failing_job_tries_for_itself() -> None:
    shared = Shared[str]()
    failing = asyncio.Event()

    async def bad() -> str:
        await failing.wait()
        raise NotFound("bad")

    async def good() -> str:
        return "good"

    async def use(work: object) -> str:
        async with shared.use("key", work) as result:  # type: ignore[arg-type]
            return result

    first = asyncio.create_task(use(bad))
    await asyncio.sleep(0)
    others = [asyncio.create_task(use(work)) for work in (good, bad, good)]
    await asyncio.sleep(0)
    failing.set()
    with pytest.raises(NotFound):
        await first
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [str(result) for result in results].count("good") >= 2
