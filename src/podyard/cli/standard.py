"""This process' standard streams beside an event loop.

They may be terminals, pipes, files, and shared with other processes: they stay in blocking mode, and threads wait for
them, together with a pipe through which the waiting is ended. That keeps a slow reader of standard output from holding
up signals, and an unread terminal from holding up the exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import time
from types import TracebackType
from typing import Self

STDERR = 2

CHUNK = 64 << 10
ATOMIC = 4096
"""Bytes that a pipe which is said to be writable takes without blocking (pipe(7), PIPE_BUF)."""
PAUSE = 0.01
"""Seconds between two attempts at a terminal that has less room than it says."""


class _Waiting:
    """A file descriptor and the pipe that ends waiting for it. An asynchronous context manager; the fd stays open."""

    def __init__(self, fd: int, event: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, event)
        self._stop_read, self._stop_write = os.pipe()
        self._poll.register(self._stop_read, select.POLLIN)
        self._busy: asyncio.Future[bytes] | asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stop_write, b".")
        if self._busy is not None:
            # The thread sees the byte at once; its descriptors must outlive it.
            await asyncio.wait([self._busy])
            if not self._busy.cancelled():
                self._busy.exception()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _ready(self) -> bool:
        """Block until the descriptor can be used; False when the waiting was ended."""
        return all(fd != self._stop_read for fd, _ in self._poll.poll())


class Input(_Waiting):
    """A descriptor to read from."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, select.POLLIN)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises OSError."""
        reading = self._busy = asyncio.create_task(asyncio.to_thread(self._read))
        return await asyncio.shield(reading)

    def _read(self) -> bytes:
        if not self._ready():
            return b""
        try:
            return os.read(self._fd, CHUNK)
        except OSError as error:
            if error.errno == errno.EIO:  # a terminal that was hung up
                return b""
            raise


class Output(_Waiting):
    """A descriptor to write to."""

    def __init__(self, fd: int) -> None:
        self._own = _opened_again(fd)
        super().__init__(fd if self._own is None else self._own, select.POLLOUT)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._own is not None:
            os.close(self._own)

    async def write(self, data: bytes) -> None:
        """Write everything. Raises BrokenPipeError when the reader has gone, or another OSError."""
        writing = self._busy = asyncio.create_task(asyncio.to_thread(self._write, memoryview(data)))
        await asyncio.shield(writing)

    def _write(self, data: memoryview) -> None:
        while data and self._ready():
            try:
                data = data[os.write(self._fd, data[:ATOMIC]) :]
            except BlockingIOError:
                # A terminal that has room, but not for the next character: a newline takes the room of two.
                time.sleep(PAUSE)


def end_line() -> None:
    """Begin a new line on standard error, where that is a terminal and takes one without waiting."""
    own = _opened_again(STDERR)
    if own is not None:
        with contextlib.suppress(OSError):
            os.write(own, b"\n")
        os.close(own)


def _opened_again(fd: int) -> int | None:
    """A terminal opened once more, not to block: it says that it is writable when it takes no more than one byte.

    None for what is no terminal, or is another user's.
    """
    if not os.isatty(fd):
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
