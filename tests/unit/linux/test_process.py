"""Host tools as subprocesses."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from podyard.linux import process


@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_a_tool_that_does_not_read_its_input_leaves_nothing_open(size: int) -> None:
    done = await process.run(["true"], limit=20, stdin=b"x" * size)
    gc.collect()  # a pipe that is still open is a warning, which fails the test
    assert done.code == 0


async def test_one_that_is_given_up_while_every_thread_is_busy_leaves_nothing_open() -> None:
    free = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        busy = loop.run_in_executor(None, free.wait)
        task = asyncio.create_task(process.run(["sleep", "600"], limit=20, stdin=b"x"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        free.set()
        await busy
    del task
    gc.collect()


async def test_a_tool_gets_all_of_its_input() -> None:
    done = await process.run(["sha256sum"], limit=20, stdin=b"x" * (3 << 20))
    wanted = await process.run(["sh", "-c", "head -c 3145728 /dev/zero | tr '\\0' x | sha256sum"], limit=20)
    assert done.stdout == wanted.stdout


async def test_a_number_that_a_thread_has_is_no_processs() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        with pytest.raises(ProcessLookupError):
            process.open_pidfd(thread.native_id)
        async with asyncio.timeout(10):
            await process.ended(thread.native_id)
    finally:
        over.set()
        thread.join()
