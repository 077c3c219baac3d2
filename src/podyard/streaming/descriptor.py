"""File descriptors on the event loop: pipes, terminals and sockets that are read and written by ``await``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

CHUNK = 65536
TURN = 4 * CHUNK
"""Bytes after which others get their turn: a fast pipe is always ready."""


class Descriptor:
    """Owns a descriptor, which becomes non-blocking. One reader and one writer at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._expired = False
        self._reading: asyncio.Future[None] | None = None
        self._turn = 0
        self.closed = False
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        """The number."""
        return self._fd

    async def read(self) -> bytes:
        """The next bytes; b"" at the end, or when there are none and ``expire`` was called. Raises OSError."""
        while not self.closed:
            try:
                data = os.read(self._fd, CHUNK)
            except BlockingIOError:
                if self._expired:
                    return b""
                await self._readable()
                continue
            except OSError as error:
                # A terminal whose other side nobody has open any more (tty_ioctl(4)); a socket whose peer was killed.
                if error.errno in {errno.EIO, errno.ECONNRESET}:
                    return b""
                raise
            await self._take_turns(len(data))
            return data
        return b""

    def read_now(self, limit: int) -> bytes:
        """What is there now, ``limit`` bytes at most."""
        found = b""
        with contextlib.suppress(OSError):
            while len(found) < limit and (data := os.read(self._fd, limit - len(found))):
                found += data
        return found

    async def write(self, data: bytes, largest: int = CHUNK) -> None:
        """Write all, ``largest`` bytes at once. Raises BrokenPipeError when nobody reads, OSError."""
        view = memoryview(data)
        while view:
            if self.closed:
                raise BrokenPipeError(errno.EPIPE, "closed by this end")
            try:
                written = os.write(self._fd, view[:largest])
            except BlockingIOError:
                await self._writable()
                continue
            view = view[written:]
            await self._take_turns(written)

    def shut_down(self, how: int = socket.SHUT_WR) -> None:
        """A socket's peer gets no more from this end, or with SHUT_RD can send no more. One that is closed is fine."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as end:
            end.shutdown(how)

    def expire(self) -> None:
        """From now on reading takes what is there and waits for nothing more."""
        self._expired = True
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def close(self) -> None:
        """Close it. Whoever reads gets b"". May be repeated."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self.expire()
        os.close(self._fd)

    async def _take_turns(self, size: int) -> None:
        self._turn += size
        if self._turn >= TURN:
            self._turn = 0
            await asyncio.sleep(0)

    async def _readable(self) -> None:
        self._reading = self._loop.create_future()
        self._loop.add_reader(self._fd, _done, self._reading)
        try:
            await self._reading
        finally:
            self._reading = None
            if not self.closed:
                self._loop.remove_reader(self._fd)

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._fd, _done, ready)
        try:
            await ready
        finally:
            if not self.closed:
                self._loop.remove_writer(self._fd)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
