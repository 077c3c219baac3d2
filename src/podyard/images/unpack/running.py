"""Runs a worker: starts its process, follows its progress, ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

    def tell(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Send it something that it may be waiting for, if it still runs. Raises OSError when the kernel refuses."""
        ...

    def hang_up(self) -> None:
        """It will be told nothing more."""
        ...

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        ...

    async def code(self) -> int:
        """Wait for its end; its exit code (negative: the signal). Once only."""
        ...


class Forked:
    """A worker that the nursery has forked.

    ``orders``: our end of its standard input; ``pipes``: those of its standard output and error. ``reap`` gives the
    exit code of a pid that has ended.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int,
        orders: socket.socket | None,
        pipes: tuple[IO[bytes] | None, IO[bytes] | None],
        reap: Callable[[int], Awaitable[int]],
    ) -> None:
        self.stdout, self.stderr = pipes
        self._orders = orders
        self._pid = pid
        self._pidfd = pidfd
        self._reap = reap

    def tell(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Send it a message."""
        assert self._orders is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is told by who waits for its result
            socket.send_fds(self._orders, [json.dumps(message).encode()], descriptors)

    def hang_up(self) -> None:
        """Close its standard input."""
        if self._orders is not None:
            self._orders.close()

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
    """A worker with an interpreter of its own, which can be told nothing: its standard input is /dev/null."""

    def __init__(self, program: str, request: Mapping[str, Any]) -> None:
        """Raises Internal when it cannot be started."""
        # -P: whatever lies in the working directory is not a module.
        argv = [sys.executable, "-P", "-m", f"podyard.images.unpack.{program}", json.dumps(request)]
        self._process: subprocess.Popen[bytes] = process.start(argv, env=environment())
        self.stdout: IO[bytes] | None = self._process.stdout
        self.stderr: IO[bytes] | None = self._process.stderr

    def tell(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Not possible."""

    def hang_up(self) -> None:
        """Nothing to be done."""

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        process.kill_group(self._process)

    async def code(self) -> int:
        """Wait for its end; its exit code."""
        await process.ended(self._process.pid)
        return self._process.wait()


class Session:
    """A worker ("worker", "packer") at work. It writes lines of JSON: ``{"read": N}`` for progress, then one with
    ``"result": {…}`` or ``"error": [STATUS, TEXT]``.

    ``workers``: who has started it; None for an interpreter of its own. ``leave`` or ``end`` it in any case.
    """

    def __init__(self, worker: Running, workers: Workers | None) -> None:
        self._worker = worker
        self._workers = workers
        self._ending = asyncio.ensure_future(worker.code())
        self._output: asyncio.StreamReader | None = None
        self._closing = ExitStack()
        self._over = False

    @classmethod
    async def start(cls, program: str, request: Mapping[str, Any], workers: Workers | None) -> Session:
        """Start it. Raises Internal when it cannot be started."""
        return cls(Direct(program, request) if workers is None else await workers.start(program, request), workers)

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._ending.done()

    def tell(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send it something that it waits for."""
        self._worker.tell(message, descriptors)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if not self._ending.done():
            self._worker.kill()

    async def result(
        self, subject: str, stall: float, on_progress: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        """Its next result. ``subject`` names it in errors.

        Raises what the worker reports, DeadlineExceeded without a line for ``stall`` seconds, Internal when it ends
        without a result.
        """
        try:
            if self._output is None:
                self._output = await _reader(self._worker.stdout, self._closing)
            while True:
                async with asyncio.timeout(stall):
                    line = await self._output.readline()
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
                code = await asyncio.shield(self._ending)
            last = _complaint(self._worker.stderr).strip().rpartition("\n")[2]
        except TimeoutError:
            raise errors.DeadlineExceeded(
                f"{subject} made no progress for {stall:g} s; is the disk overloaded or gone?"
            ) from None
        raise errors.Internal(f"{subject} ended with exit code {code}: {last or 'it said nothing'}")

    def leave(self) -> None:
        """It has given its last result, and nobody needs to wait until it is gone: ``workers`` see to its end."""
        assert self._workers is not None
        if not self._over:
            self._close()
            self._workers.retire(self._ending)

    async def end(self, subject: str) -> None:
        """See to it that it runs no more. Raises Internal when it cannot be killed."""
        self.kill()
        try:
            async with asyncio.timeout(_END_LIMIT):
                await asyncio.shield(self._ending)
        except TimeoutError:
            raise errors.Internal(f"{subject} cannot be killed: the disk does not answer") from None
        finally:
            self._close()

    def _close(self) -> None:
        self._over = True
        self._closing.close()
        self._worker.hang_up()
        # Those that were not reached, when the caller went away very early.
        for pipe in (self._worker.stdout, self._worker.stderr):
            if pipe is not None:
                pipe.close()


async def run_worker(
    program: str, request: Mapping[str, Any], subject: str, *, stall: float, workers: Workers | None
) -> dict[str, Any]:
    """Run a worker that has one result. Cancelling kills it. Raises as ``Session.result``."""
    session = await Session.start(program, request, workers)
    try:
        result = await session.result(subject, stall)
    except BaseException:
        await session.end(subject)
        raise
    if workers is None:
        await session.end(subject)
    else:
        session.leave()
    return result


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
