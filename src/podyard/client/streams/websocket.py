"""Channels over a WebSocket: the first byte of a message names its channel."""

from __future__ import annotations

from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import CONNECTING, OPEN
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from podyard.client.streams.channels import Inbound, Outbound
from podyard.client.streams.link import Link, Refused
from podyard.client.streams.target import Target
from podyard.client.streams.upgrade import reason_text
from podyard.errors import DataLoss, PodyardError, Unavailable, Unimplemented
from podyard.wire.remotecommand import V5, Channel

__all__ = ["WebSocketLink"]

MESSAGE_LIMIT = 4 << 20
"""Bytes of a message. Servers send some ten kilobytes at a time."""
_ORDERLY = {1000, 1001, 1005}
"""Close codes of an end that is no failure (RFC 6455, section 7.4.1)."""


class WebSocketLink(Link):
    """A WebSocket with ``channels`` channels, numbered from 0. What comes on others is dropped."""

    def __init__(self, target: Target, protocols: Sequence[str], channels: int) -> None:
        super().__init__(str(target))
        self._socket = ClientProtocol(
            WebSocketURI(target.tls, target.host, target.port, *_split(target.resource), None, None),
            subprotocols=[Subprotocol(protocol) for protocol in protocols],
            max_size=MESSAGE_LIMIT,
        )
        self._inbound = [Inbound(self._release) for _ in range(channels)]
        self._outbound = [
            Outbound(lambda data, last, number=number: self._send(number, data, last), self.drained)  # type: ignore[misc]
            for number in range(channels)
        ]
        self._current: int | None = None

    @property
    def protocol(self) -> str:
        """What was agreed on; "" when the server named nothing."""
        return self._socket.subprotocol or ""

    def inbound(self, number: int) -> Inbound:
        """What arrives on a channel."""
        return self._inbound[number]

    def outbound(self, number: int) -> Outbound:
        """What is sent on a channel."""
        return self._outbound[number]

    def _begin(self) -> None:
        self._socket.send_request(self._socket.connect())
        self._flush()

    def _receive(self, data: bytes) -> None:
        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif self._socket.handshake_exc is None and not self.ready.done():
                # Before the frames: the end of the session may come together with its beginning.
                self.ready.set_result(None)
        if self._failure is not None:
            return
        self._flush()
        if self._socket.handshake_exc is not None:
            raise _refusal(self._socket.handshake_exc)
        if self._socket.parser_exc is not None:
            raise DataLoss(f"{self.peer} broke the WebSocket protocol: {self._socket.parser_exc}")

    def eof_received(self) -> None:
        if self._socket.state is CONNECTING and self._failure is None:
            # The end of the connection may be the end of a refusal's text.
            self._socket.receive_eof()
            if self._socket.handshake_exc is not None:
                self._refuse(_refusal(self._socket.handshake_exc))
        super().eof_received()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY | Opcode.TEXT if frame.data:
                self._current = frame.data[0]
                self._deliver(bytes(frame.data[1:]))
            case Opcode.CONT:
                self._deliver(bytes(frame.data))
            case Opcode.CLOSE:
                self._closed_by_peer(Close.parse(frame.data))

    def _deliver(self, data: bytes) -> None:
        if self._current == Channel.CLOSE and self.protocol == V5:
            for number in data:
                if number < len(self._inbound):
                    self._inbound[number].end()
        elif (
            self._current is not None and self._current < len(self._inbound) and self.inbound(self._current).feed(data)
        ):
            self._hold(len(data))

    def _closed_by_peer(self, close: Close) -> None:
        self._flush()
        if close.code in _ORDERLY:
            for channel in self._inbound:
                channel.end()
        self.fail(Unavailable(f"{self.peer} ended the session: {close}"))

    def _send(self, number: int, data: bytes, last: bool) -> None:
        if last and self.protocol != V5:
            raise Unimplemented(
                f"over a WebSocket the end of input cannot be told in {self.protocol or 'the oldest protocol'}, "
                f'all that {self.peer} speaks: use the transport "spdy"'
            )
        if self._socket.state is not OPEN:
            return
        if data:
            self._socket.send_binary(bytes((number,)) + data)
        if last:
            self._socket.send_binary(bytes((Channel.CLOSE, number)))
        self._flush()

    def _flush(self) -> None:
        self._write(b"".join(self._socket.data_to_send()))

    def _lost(self, failure: PodyardError) -> None:
        if self._socket.state is OPEN:
            self._socket.send_close(1000)
            if self._transport is not None:
                self._transport.write(b"".join(self._socket.data_to_send()))
        for inbound in self._inbound:
            inbound.end(failure)
        for outbound in self._outbound:
            outbound.refuse(str(failure))


def _split(resource: str) -> tuple[str, str]:
    path, _, query = resource.partition("?")
    return path, query


def _refusal(error: Exception) -> Refused:
    if not isinstance(error, InvalidStatus):
        return Refused(0, f"it does not speak WebSocket: {error}")
    answer: Response = error.response
    status = answer.status_code
    return Refused(status, reason_text(status, bytes(answer.body or b"")), answer.headers.get("Location", ""))
