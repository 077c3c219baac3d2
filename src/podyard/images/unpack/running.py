"""Runs a worker: starts its process, follows its progress, ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol

from podyard import errors
from podyard.linux import process

if TYPE_CHECKING:
    from podyard.images.unpack.workers import Workers

_LINE_LIMIT = 1 << 20
_END_LIMIT = 30.0  # seconds for a killed worker to be gone


def environment() -> dict[str, str]:
    """What workers get of the daemon's variables: all that an interpreter may need to start.

    The others are none of their business, the password of a proxy for one.
    """
    return {name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "LD_"))}


class Running(Protocol):
    """A worker's process."""

    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def admit(self) -> None:
        """End its standard input, which tells it that the layers below are whole."""
        ...

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        ...

    async def code(self) -> int:
        """Wait for its end; its exit code (negative: the signal). Once only."""
        ...


class Forked:
    """A worker that the nursery has forked.

    ``pipes``: our ends of its standard input, output and error. ``reap`` gives the exit code of a pid that has ended.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int,
        pipes: tuple[IO[bytes] | None, IO[bytes] | None, IO[bytes] | None],
        reap: Callable[[int], Awaitable[int]],
    ) -> None:
        self._stdin, self.stdout, self.stderr = pipes
        self._pid = pid
        self._pidfd = pidfd
        self._reap = reap

    def admit(self) -> None:
        """End its standard input."""
        if self._stdin is not None:
            self._stdin.close()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def code(self) -> int:
        """Wait for its end; its exit code."""
        over = asyncio.Event()
        try:
            process.watch(os.dup(self._pidfd), over.set)
            await over.wait()
            return await self._reap(self._pid)
        finally:
            os.close(self._pidfd)


class Direct:
    """A worker with an interpreter of its own."""

    def __init__(self, program: str, request: Mapping[str, Any]) -> None:
        """Raises Internal when it cannot be started."""
        # -P: whatever lies in the working directory is not a module.
        argv = [sys.executable, "-P", "-m", f"podyard.images.unpack.{program}", json.dumps(request)]
        self._process: subprocess.Popen[bytes] = process.start(argv, env=environment())
        self.stdout: IO[bytes] | None = self._process.stdout
        self.stderr: IO[bytes] | None = self._process.stderr

    def admit(self) -> None:
        """Its standard input is /dev/null."""

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        process.kill_group(self._process)

    async def code(self) -> int:
        """Wait for its end; its exit code."""
        await process.ended(self._process.pid)
        return self._process.wait()


async def run_worker(
    program: str,
    request: Mapping[str, Any],
    subject: str,
    *,
    stall: float,
    workers: Workers | None,
    below: asyncio.Future[bool] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run a worker ("worker", "packer") with a request; its result. Cancelling kills it.

    The worker writes lines of JSON: ``{"read": N}`` for progress, then one with ``"result": {…}`` or ``"error":
    [STATUS, TEXT]``. ``subject`` names it in errors. ``workers``: who starts it; None for an interpreter of its own.
    ``below``: the worker looks at the layers below once this is True, and is killed when it is False.

    Raises what the worker reports, DeadlineExceeded without a line for ``stall`` seconds, Internal when it ends without
    a result.
    """
    worker: Running = Direct(program, request) if workers is None else await workers.start(program, request)
    ending = asyncio.ensure_future(worker.code())
    finished = False

    def admit(whole: asyncio.Future[bool]) -> None:
        if (whole.cancelled() or not whole.result()) and not ending.done():
            worker.kill()
        worker.admit()

    if below is None:
        worker.admit()
    else:
        below.add_done_callback(admit)
    try:
        result = await _follow(worker, ending, subject, stall=stall, on_progress=on_progress)
        finished = True
    finally:
        if below is not None:
            below.remove_done_callback(admit)
        worker.admit()
        if not finished or workers is None:
            await _end(worker, ending, subject)
    if workers is not None:
        # The result is the last thing that a worker does: nobody needs to wait until it has left.
        _close(worker)
        workers.retire(ending)
    return result


async def _follow(
    worker: Running,
    ending: asyncio.Future[int],
    subject: str,
    *,
    stall: float,
    on_progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    with ExitStack() as until_read:
        output = await _reader(worker.stdout, until_read)
        try:
            while True:
                async with asyncio.timeout(stall):
                    line = await output.readline()
                if not line:
                    break
                message = json.loads(line)
                if "read" in message and on_progress is not None:
                    on_progress(message["read"])
                if "error" in message:
                    status, text = message["error"]
                    raise errors.for_status(status, text)
                if "result" in message:
                    result: dict[str, Any] = message["result"]
                    return result
            async with asyncio.timeout(stall):
                code = await asyncio.shield(ending)
            last = _complaint(worker.stderr).strip().rpartition("\n")[2]
        except TimeoutError:
            raise errors.DeadlineExceeded(
                f"{subject} made no progress for {stall:g} s; is the disk overloaded or gone?"
            ) from None
    raise errors.Internal(f"{subject} ended with exit code {code}: {last or 'it said nothing'}")


def _complaint(pipe: IO[bytes] | None) -> str:
    """What a worker that has ended wrote to standard error: nobody reads it before, so it is what a pipe holds."""
    if pipe is None:
        return ""
    os.set_blocking(pipe.fileno(), False)
    return (pipe.read(_LINE_LIMIT) or b"").decode(errors="replace")


async def _reader(pipe: Any, closing: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    closing.callback(transport.close)
    return reader


async def _end(worker: Running, ending: asyncio.Future[int], subject: str) -> None:
    """See a worker's end, and make it."""
    if not ending.done():
        worker.kill()
    try:
        async with asyncio.timeout(_END_LIMIT):
            await asyncio.shield(ending)
    except TimeoutError:
        raise errors.Internal(f"{subject} cannot be killed: the disk does not answer") from None
    finally:
        # Those that were not reached, when the caller went away very early.
        _close(worker)


def _close(worker: Running) -> None:
    for pipe in (worker.stdout, worker.stderr):
        if pipe is not None:
            pipe.close()
