"""A connection's bytes: written with back-pressure, read as long as nobody holds them back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Hashable
from typing import Protocol

from podyard.errors import Cancelled

HIGH_WATER = 262144
"""Bytes that wait to be sent before writers wait."""
LARGEST_BACKLOG = HIGH_WATER + (8 << 20)
"""Bytes that wait to be sent after which a peer is cut off: it asks for answers and reads none."""

SILENCE = 60.0
"""Seconds after which a peer that acknowledges nothing has gone, whatever its host says or does not say."""
UNANSWERED = 3
"""Packets in a row that such a peer has not answered. One that is there and reads nothing answers the kernel's probes,
which TCP_USER_TIMEOUT does not tell from silence (tcp(7))."""

_INFO = struct.Struct("=BxBB52xI")
"""The begin of tcp_info (linux/tcp.h): tcpi_state, tcpi_retransmits, tcpi_probes, tcpi_last_ack_recv in ms."""
_TCP_CLOSED = {7, 8}
"""tcpi_state: CLOSE, CLOSE_WAIT."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Carrier(Protocol):
    """What sessions need of what carries them: a Link, or messages of another session."""

    def write(self, data: bytes, *, activity: bool = True) -> None:
        """Send; what cannot go at once waits."""

    async def drained(self) -> None:
        """Wait until there is room. Raises Cancelled when the peer has gone."""

    def hold(self, key: Hashable) -> None:
        """Read nothing until whoever holds lets go."""

    def release(self, key: Hashable) -> None:
        """Let go."""

    def close(self) -> None:
        """Close when all has been sent."""


class Link:
    """A TCP connection. ``last_activity``: when bytes last came or went (seconds of the loop's clock)."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
        self._holders: set[Hashable] = set()
        self._paused = False
        self._waiters: list[asyncio.Future[None]] = []
        self.gone = asyncio.Event()
        self.last_activity = self._loop.time()
        transport.set_write_buffer_limits(high=HIGH_WATER)

    @property
    def held(self) -> bool:
        """Whether reading is held back."""
        return bool(self._holders)

    def write(self, data: bytes, *, activity: bool = True) -> None:
        if not data or self.gone.is_set() or self._transport.is_closing():
            return
        if activity:
            self.last_activity = self._loop.time()
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > LARGEST_BACKLOG:
            self.abort()

    async def drained(self) -> None:
        while self._paused and not self.gone.is_set():
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        if self.gone.is_set():
            raise Cancelled("the client has gone away")

    async def emptied(self) -> None:
        """Wait until all has been handed to the kernel."""
        self._transport.set_write_buffer_limits(high=0)
        with contextlib.suppress(Cancelled):
            await self.drained()

    def hold(self, key: Hashable) -> None:
        if not self._holders:
            self._transport.pause_reading()
        self._holders.add(key)

    def release(self, key: Hashable) -> None:
        if key in self._holders:
            self._holders.discard(key)
            if not self._holders and not self._transport.is_closing():
                self._transport.resume_reading()

    def release_all(self) -> None:
        """Let everybody go."""
        for key in list(self._holders):
            self.release(key)

    def peer_has_gone(self) -> bool:
        """Whether the kernel knows that the peer has gone: nobody is told while reading is held back, and for a host
        that has vanished the kernel itself waits a quarter of an hour.
        """
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except OSError:
            return True
        state, retransmits, probes, last_answer = _INFO.unpack(info)
        silent = max(retransmits, probes) >= UNANSWERED and last_answer >= SILENCE * 1000
        return silent or (state in _TCP_CLOSED and self.held)

    def touch(self) -> None:
        """Bytes have come."""
        self.last_activity = self._loop.time()

    def close(self) -> None:
        self._transport.close()

    def end(self) -> None:
        """Send no more, and go on reading; over TLS, which has no half-closed connections, close."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """Called by the transport's protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the transport's protocol."""
        self._paused = False
        self._wake()

    def lost(self) -> None:
        """Called by the transport's protocol."""
        self.gone.set()
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
