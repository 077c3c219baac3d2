"""One connection to a streaming server: bytes in both directions, with back-pressure; the protocols stand on it."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import cast

from podyard.errors import PodyardError, Unavailable

__all__ = ["Link", "Refused", "keep_alive"]

HOLD = 512 << 10
"""Bytes that may wait for their readers before the connection is read no further."""
SEND_BUFFER = 256 << 10
"""Bytes that may wait for the peer before senders are held up."""

KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A host that is gone is noticed within two minutes (tcp(7)); a session itself may be silent for hours.

TCP_USER_TIMEOUT is none of them: it would also cut off a peer that is there and takes nothing for a while.
"""


class Refused(Exception):
    """The server answered the upgrade with something else. ``status`` is HTTP's, ``location`` that of a redirection."""

    def __init__(self, status: int, reason: str, location: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.location = location


class Link(asyncio.Protocol):
    """The connection. A protocol fills in ``_begin``, ``_receive`` and ``_lost``."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the protocol is agreed on. Fails with Refused or a PodyardError."""
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._closed = asyncio.Event()
        self._failure: PodyardError | None = None
        self._held = 0
        self._paused = False

    # --- for sessions

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._failure is not None

    async def close(self) -> None:
        """Hang up at once. What was sent before goes out as far as the peer takes it without delay."""
        if self._transport is not None and not self._closed.is_set():
            self.fail(Unavailable("this end has hung up"))
            await self._closed.wait()

    async def drained(self) -> None:
        """Wait for room in the send buffer. Raises Unavailable when the connection is gone."""
        if not self._room.is_set():
            await self._room.wait()
        if self._failure is not None:
            raise self._failure

    def fail(self, failure: PodyardError) -> None:
        """Give the connection up, for a reason that all its users are told."""
        if self._failure is None:
            self._failure = failure
            self._room.set()
            if not self.ready.done():
                self.ready.set_exception(failure)
            self._lost(failure)
            if self._transport is not None:
                self._transport.close()
                if self._transport.get_write_buffer_size():
                    self._transport.abort()

    # --- for protocols

    def _begin(self) -> None:
        raise NotImplementedError

    def _receive(self, data: bytes) -> None:
        raise NotImplementedError

    def _lost(self, failure: PodyardError) -> None:
        raise NotImplementedError

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and self._failure is None:
            self._transport.write(data)

    def _hold(self, count: int) -> None:
        """Bytes begin to wait for their reader."""
        self._held += count
        if self._held > HOLD and not self._paused and self._transport is not None and self._failure is None:
            self._paused = True
            self._transport.pause_reading()

    def _release(self, count: int) -> None:
        """Bytes were read."""
        self._held -= count
        if self._paused and self._held <= HOLD // 2 and self._transport is not None and self._failure is None:
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SEND_BUFFER)
        keep_alive(transport.get_extra_info("socket"))
        self._begin()

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        try:
            self._receive(data)
        except Refused as refusal:
            self._refuse(refusal)
        except PodyardError as error:
            self.fail(error)

    def eof_received(self) -> None:
        self.fail(Unavailable(f"{self.peer} closed the connection"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._failure is None and self._transport is not None:
            self._read_rest(self._transport)
        self.fail(Unavailable(f"the connection to {self.peer} broke: {error}"))
        self._closed.set()

    def _read_rest(self, transport: asyncio.Transport) -> None:
        """Take what had arrived when a write failed: the server may have hung up after a last word.

        The transport has stopped reading then; its socket is open still, and gives no more than the kernel holds.
        """
        if transport.get_extra_info("ssl_object") is not None:
            return
        descriptor = transport.get_extra_info("socket").fileno()
        with suppress(OSError):  # the reset itself, at last
            while self._failure is None and (data := os.read(descriptor, 1 << 16)):
                self.data_received(data)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def _refuse(self, refusal: Refused) -> None:
        if not self.ready.done():
            self.ready.set_exception(refusal)
        self.fail(Unavailable(f"{self.peer} refused the session: {refusal}"))


def keep_alive(connection: socket.socket | None) -> None:
    """Have the kernel notice that the other host has gone."""
    if connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every platform has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
