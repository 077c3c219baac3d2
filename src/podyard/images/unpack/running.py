"""Starts a worker process, follows its progress, ends it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from podyard import errors
from podyard.linux import process

_LINE_LIMIT = 1 << 20
_END_LIMIT = 30.0  # seconds for a killed worker to be gone


async def run_worker(
    module: str,
    request: Mapping[str, Any],
    subject: str,
    stall: float,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run a worker's main program with a request; its result. Cancelling kills it.

    The worker writes lines of JSON: ``{"read": N}`` for progress, then ``{"result": {…}}`` or ``{"error": [STATUS,
    TEXT]}``. ``subject`` names it in errors.

    Raises what the worker reports, DeadlineExceeded without a line for ``stall`` seconds, Internal when it ends without
    a result.
    """
    # -P: whatever lies in the working directory is not a module.
    worker = process.start([sys.executable, "-P", "-m", module, json.dumps(request)])
    try:
        return await _follow(worker, subject, stall, on_progress)
    finally:
        await _end(worker, subject)


async def _follow(
    worker: subprocess.Popen[bytes], subject: str, stall: float, on_progress: Callable[[int], None] | None
) -> dict[str, Any]:
    with ExitStack() as until_read:
        output = await _reader(worker.stdout, until_read)
        complaints = await _reader(worker.stderr, until_read)
        complaint = asyncio.create_task(_rest(complaints))
        until_read.callback(complaint.cancel)
        try:
            while True:
                async with asyncio.timeout(stall):
                    line = await output.readline()
                if not line:
                    break
                message = json.loads(line)
                if "read" in message:
                    if on_progress is not None:
                        on_progress(message["read"])
                elif "error" in message:
                    status, text = message["error"]
                    raise errors.for_status(status, text)
                else:
                    result: dict[str, Any] = message["result"]
                    return result
            async with asyncio.timeout(stall):
                await process.ended(worker.pid)
                code = worker.wait()
                last = (await complaint).decode(errors="replace").strip().rpartition("\n")[2]
        except TimeoutError:
            raise errors.DeadlineExceeded(
                f"{subject} made no progress for {stall:g} s; is the disk overloaded or gone?"
            ) from None
    raise errors.Internal(f"{subject} ended with exit code {code}: {last or 'it said nothing'}")


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end; of more than a line's limit, the last part."""
    content = b""
    while data := await reader.read(_LINE_LIMIT):
        content = (content + data)[-_LINE_LIMIT:]
    return content


async def _reader(pipe: Any, closing: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    closing.callback(transport.close)
    return reader


async def _end(worker: subprocess.Popen[bytes], subject: str) -> None:
    """See a worker's end, and make it."""
    if worker.poll() is None:
        process.kill_group(worker)
    try:
        await asyncio.to_thread(worker.wait, _END_LIMIT)
    except subprocess.TimeoutExpired:
        raise errors.Internal(f"{subject} cannot be killed: the disk does not answer") from None
    finally:
        # Those that were not reached, when the caller went away very early.
        for pipe in (worker.stdout, worker.stderr):
            if pipe is not None:
                pipe.close()
