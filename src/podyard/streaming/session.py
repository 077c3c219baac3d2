"""A session: one client's connection with its channels, whatever protocol carries them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from typing import ClassVar

from podyard.errors import Cancelled
from podyard.streaming.link import Carrier

CHANNEL_BUFFER = 262144
"""Bytes of a channel that wait to be read before the whole connection is held back."""


class Channel:
    """Bytes in both directions. ``key``: the stream's or channel's number. ``headers``: what SPDY says of a stream."""

    def __init__(self, session: Session, key: int, headers: Mapping[str, str]) -> None:
        self._session = session
        self._incoming: deque[bytes] = deque()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self.key = key
        self.headers = headers
        self.buffered = 0
        self.reset_by_peer = False
        self.closed = False

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. Raises Cancelled when the client has given the channel up.

        One reader at a time.
        """
        while not self._incoming:
            if self.reset_by_peer:
                raise Cancelled("the client has given the stream up")
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._incoming.popleft()
        self.buffered -= len(data)
        self._session.consumed(self, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send, and wait while the client does not take it. Raises Cancelled when it has given the channel up."""
        if self.closed or self.reset_by_peer:
            raise Cancelled("the client has given the stream up")
        await self._session.write(self, data)

    def close(self) -> None:
        """Send no more. May be repeated."""
        if not self.closed and not self.reset_by_peer:
            self.closed = True
            self._session.close_channel(self)

    def reset(self) -> None:
        """Give the channel up: what still comes is dropped. May be repeated."""
        if not self.reset_by_peer:
            self.closed = True
            self._session.reset_channel(self)
            self.drop()

    def drop(self) -> None:
        """Nothing comes or goes any more."""
        self.reset_by_peer = True
        dropped, self.buffered = self.buffered, 0
        self._incoming.clear()
        if dropped:
            self._session.consumed(self, dropped)
        self._wake()

    def feed(self, data: bytes) -> None:
        """Bytes have come. Called by the session."""
        if data and not self._ended:
            self._incoming.append(data)
            self.buffered += len(data)
            self._wake()

    def feed_end(self) -> None:
        """The client sends no more. Called by the session."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Session(ABC):
    """``protocol``: the subprotocol of remotecommand whose statuses it takes."""

    tells_ends: ClassVar[bool]
    """Whether the client learns that a channel has ended; otherwise it sees the end of the session alone."""

    def __init__(self, carrier: Carrier, protocol: str) -> None:
        self._carrier = carrier
        self._channels: dict[int, Channel] = {}
        self.protocol = protocol

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Bytes from the client."""

    @abstractmethod
    async def remote_channels(self, kinds: Iterable[str]) -> dict[str, Channel]:
        """The channels of exec or attach ("stdin", "error" and so on), once the client has opened them all."""

    @abstractmethod
    async def write(self, channel: Channel, data: bytes) -> None:
        """Send on a channel, and wait while there is no room."""

    @abstractmethod
    def close_channel(self, channel: Channel) -> None:
        """Tell the client that nothing more comes."""

    @abstractmethod
    def reset_channel(self, channel: Channel) -> None:
        """Tell the client that the channel is given up."""

    @abstractmethod
    def finish(self) -> None:
        """All is said: begin the protocol's own way to end."""

    @abstractmethod
    def ping(self) -> None:
        """Send something that a client that has gone cannot take."""

    def lost(self) -> None:
        """The connection is gone."""
        self._channels.clear()

    def consumed(self, channel: Channel, size: int) -> None:
        """Bytes of a channel have been read."""
        if channel.buffered <= CHANNEL_BUFFER // 2:
            self._carrier.release(channel.key)

    def _feed(self, channel: Channel, data: bytes) -> None:
        channel.feed(data)
        if channel.buffered > CHANNEL_BUFFER:
            self._carrier.hold(channel.key)
