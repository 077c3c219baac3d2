"""Channels over SPDY/3.1: each is a stream of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from podyard.client.streams.channels import Inbound, Outbound
from podyard.client.streams.link import Link
from podyard.client.streams.target import Target
from podyard.client.streams.upgrade import SpdyUpgrade
from podyard.errors import DataLoss, PodyardError, Unavailable
from podyard.wire import spdy

__all__ = ["SpdyLink", "SpdyStream"]

_LIMITS = spdy.Limits(window=0x7FFFFFFF)
"""No windows for the peer's data: TCP holds it up. Servers hang up as soon as a command has ended; a WINDOW_UPDATE
that comes in after that makes the kernel throw away what they still had to send."""


class SpdyStream:
    """One stream: what arrives on it, and what is sent."""

    def __init__(self, link: SpdyLink, stream_id: int) -> None:
        self.inbound = Inbound(lambda count: link.consumed(stream_id, count))
        self.outbound = Outbound(lambda data, last: link.send(stream_id, data, last), self._drained)
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self._link = link

    async def _drained(self) -> None:
        # The peer's window first, where it has one, then the connection's own buffer.
        await self.writable.wait()
        await self._link.drained()

    def end(self, failure: PodyardError | None, reason: str) -> None:
        """Nothing comes or goes any more."""
        self.inbound.end(failure)
        self.outbound.refuse(reason)
        self.writable.set()
        if not self.accepted.done():
            self.accepted.set_exception(failure or Unavailable(reason))
            self.accepted.exception()  # whoever waits is told; nobody must


class SpdyLink(Link):
    """A connection that switches to SPDY/3.1, and its streams. ``protocols``: offered, the preferred one first."""

    def __init__(self, target: Target, protocols: Sequence[str]) -> None:
        super().__init__(str(target))
        self.protocol = ""
        """What was agreed on; "" when the server named nothing."""
        self._upgrade: SpdyUpgrade | None = SpdyUpgrade(target, protocols)
        self._spdy = spdy.Connection("client", _LIMITS)
        self._streams: dict[int, SpdyStream] = {}

    async def open(self, headers: Mapping[str, str], *, fin: bool = False) -> SpdyStream:
        """Open a stream and wait until the peer accepts it. ``fin``: nothing will be sent on it.

        Raises Unavailable when it is refused or the connection is gone.
        """
        if self._failure is not None:
            raise self._failure
        stream_id = self._spdy.open_stream(headers, fin=fin)
        stream = self._streams[stream_id] = SpdyStream(self, stream_id)
        if fin:
            stream.outbound.refuse("it was opened for reading alone")
        self._flush()
        await stream.accepted
        return stream

    # --- for streams

    def send(self, stream_id: int, data: bytes, last: bool) -> None:
        """Send on a stream."""
        stream = self._streams.get(stream_id)
        if self._failure is None and stream is not None:
            if not self._spdy.send_data(stream_id, data, fin=last):
                stream.writable.clear()
            self._flush()

    def consumed(self, stream_id: int, count: int) -> None:
        """A reader has taken bytes of a stream: the peer may send as many again."""
        if self._failure is None:
            self._spdy.acknowledge(stream_id, count)
            self._flush()
        self._release(count)

    # --- Link

    def _begin(self) -> None:
        if self._upgrade is not None:
            self._write(self._upgrade.request())

    def _receive(self, data: bytes) -> None:
        if self._upgrade is not None:
            switched = self._upgrade.receive(data)
            if switched is None:
                return
            self._upgrade = None
            self.protocol, data = switched.protocol, switched.rest
            if not self.ready.done():
                self.ready.set_result(None)
        for event in self._spdy.receive_data(data):
            self._handle(event)
        self._flush()

    def eof_received(self) -> None:
        if self._upgrade is not None and self._failure is None:
            self.data_received(b"")  # to HTTP the end of the connection is a message too
        super().eof_received()

    def _handle(self, event: spdy.Event) -> None:
        match event:
            case spdy.DataReceived(stream_id, data, fin):
                self._deliver(stream_id, data, fin)
            case spdy.StreamReplied(stream_id, _, fin):
                stream = self._streams.get(stream_id)
                if stream is not None:
                    if not stream.accepted.done():
                        stream.accepted.set_result(None)
                    if fin:
                        stream.inbound.end()
            case spdy.StreamWritable(stream_id):
                if stream_id in self._streams:
                    self._streams[stream_id].writable.set()
            case spdy.StreamReset(stream_id, status):
                self._reset(stream_id, status)
            case spdy.StreamOpened(stream_id):
                self._spdy.reset(stream_id, spdy.ResetStatus.REFUSED_STREAM)  # nothing here serves streams
            case spdy.HeadersReceived(stream_id, _, True):
                self._deliver(stream_id, b"", True)
            case spdy.ProtocolFailed(reason):
                self._flush()
                self.fail(DataLoss(f"{self.peer} broke the SPDY protocol: {reason}"))

    def _deliver(self, stream_id: int, data: bytes, fin: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.inbound.feed(data):
            self._hold(len(data))
        if fin:
            stream.inbound.end()

    def _reset(self, stream_id: int, status: int) -> None:
        # Servers in Go reset all streams when a session is over, those that have ended in order too. Whether it ended
        # well stands on the error stream, not here.
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.end(None, f"{self.peer} has ended it (reset status {int(status)})")

    def _flush(self) -> None:
        self._write(self._spdy.data_to_send())

    def _lost(self, failure: PodyardError) -> None:
        for stream in self._streams.values():
            stream.end(failure, str(failure))
        self._streams.clear()
