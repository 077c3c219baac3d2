"""Sessions over SPDY/3.1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from podyard.errors import Cancelled
from podyard.streaming.link import Carrier
from podyard.streaming.session import CHANNEL_BUFFER, Channel, Session
from podyard.wire import spdy
from podyard.wire.remotecommand import STREAM_TYPE

logger = logging.getLogger(__name__)

LARGEST_BURST = 16 << 20
"""Bytes that a client with windows may have sent beyond them: it may not have seen this end's when it began."""

LIMITS = spdy.Limits(window=CHANNEL_BUFFER)


class SpdySession(Session):
    """The server's end of a SPDY session. Streams that the client opens are accepted when somebody asks for them."""

    tells_ends = True

    def __init__(self, carrier: Carrier, protocol: str) -> None:
        super().__init__(carrier, protocol)
        self._spdy = spdy.Connection("server", LIMITS)
        self._opened: asyncio.Queue[Channel] = asyncio.Queue()
        self._writable: dict[int, asyncio.Event] = {}
        self._complete = False
        self._flush(activity=False)

    def receive(self, data: bytes) -> None:
        for event in self._spdy.receive_data(data):
            self._handle(event)
        self._flush()
        if self._spdy.failed:
            self._carrier.close()

    async def accept(self) -> Channel:
        """The next stream that the client opens."""
        return await self._opened.get()

    async def remote_channels(self, kinds: Iterable[str]) -> dict[str, Channel]:
        wanted = set(kinds)
        found: dict[str, Channel] = {}
        while wanted - set(found):
            channel = await self.accept()
            kind = channel.headers.get(STREAM_TYPE, "")
            if kind not in wanted or kind in found:
                logger.info("a stream of type %r is not expected: it is refused", kind)
                channel.reset()
                continue
            found[kind] = channel
        # What comes besides would have nobody who reads it.
        self._complete = True
        while not self._opened.empty():
            self._opened.get_nowait().reset()
        return found

    async def write(self, channel: Channel, data: bytes) -> None:
        await self._carrier.drained()
        if channel.reset_by_peer:
            raise Cancelled("the client has given the stream up")
        passed = self._spdy.send_data(channel.key, data)
        self._flush()
        if not passed:
            writable = self._writable[channel.key] = asyncio.Event()
            await writable.wait()

    def close_channel(self, channel: Channel) -> None:
        if channel.key in self._spdy.streams:
            self._spdy.send_data(channel.key, b"", fin=True)
            self._flush()

    def reset_channel(self, channel: Channel) -> None:
        self._spdy.reset(channel.key)
        self._forget(channel.key)
        self._flush()

    def finish(self) -> None:
        # The streams have ended, and a client closes by itself then. Older Go clients drop what they have not handled
        # yet when a GOAWAY comes, so it is left out.
        return

    def ping(self) -> None:
        self._spdy.ping()
        self._flush(activity=False)

    def consumed(self, channel: Channel, size: int) -> None:
        self._spdy.acknowledge(channel.key, size)
        super().consumed(channel, size)
        self._flush()

    def _feed(self, channel: Channel, data: bytes) -> None:
        if not self._spdy.peer_has_windows:
            super()._feed(channel, data)
            return
        # Held back, its windows would not come through either, and a write that waits for them would wait for ever.
        channel.feed(data)
        if channel.buffered > CHANNEL_BUFFER:
            waiting = sum(each.buffered for each in self._channels.values())
            if waiting > LARGEST_BURST:
                logger.info("a client is cut off: %d bytes wait, far beyond its windows", waiting)
                self._carrier.close()

    def _handle(self, event: spdy.Event) -> None:
        match event:
            case spdy.DataReceived(stream_id, data, fin):
                channel = self._channels.get(stream_id)
                if channel is not None:
                    self._feed(channel, data)
                    if fin:
                        channel.feed_end()
            case spdy.StreamOpened(stream_id) if self._complete or event.unidirectional:
                self._spdy.reset(stream_id, spdy.ResetStatus.REFUSED_STREAM)
            case spdy.StreamOpened(stream_id) if stream_id not in self._spdy.streams:
                return  # given up in the same breath
            case spdy.StreamOpened(stream_id, headers, fin):
                channel = self._channels[stream_id] = Channel(self, stream_id, headers)
                # At once: a client may wait for the reply to one stream before it opens the next.
                self._spdy.reply(stream_id)
                if fin:
                    channel.feed_end()
                self._opened.put_nowait(channel)
            case spdy.StreamReset(stream_id, _):
                channel = self._channels.get(stream_id)
                self._forget(stream_id)
                if channel is not None:
                    channel.drop()
            case spdy.StreamWritable(stream_id):
                self._let_write(stream_id)
            case spdy.ProtocolFailed(reason):
                logger.info("a client is cut off, it has broken SPDY: %s", reason)

    def _forget(self, stream_id: int) -> None:
        self._channels.pop(stream_id, None)
        self._let_write(stream_id)
        self._carrier.release(stream_id)

    def _let_write(self, stream_id: int) -> None:
        writable = self._writable.pop(stream_id, None)
        if writable is not None:
            writable.set()

    def _flush(self, *, activity: bool = True) -> None:
        self._carrier.write(self._spdy.data_to_send(), activity=activity)
