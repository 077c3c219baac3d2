"""Sessions over WebSocket: channels in messages, or a SPDY session's bytes in messages."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable

from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from podyard.errors import Cancelled
from podyard.streaming.link import Carrier
from podyard.streaming.session import Channel, Session
from podyard.wire.channels import Subprotocol
from podyard.wire.remotecommand import CHANNELS, RESIZE, STDIN, STDOUT
from podyard.wire.remotecommand import Channel as Number

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 4 << 20
"""Bytes of one message from a client."""

NORMAL_CLOSURE, INVALID_DATA = 1000, 1007  # RFC 6455, 7.4.1

_frames = logging.getLogger("podyard.streaming.frames")
_frames.setLevel(logging.WARNING)  # at debug level the library writes down every frame


class Messages:
    """WebSocket messages on a carrier, after the upgrade (RFC 6455). Pings are answered, a close is acknowledged."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._websocket = Protocol(Side.SERVER, state=State.OPEN, max_size=MESSAGE_LIMIT, logger=_frames)
        self._parts: list[bytes] = []

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._websocket.state is State.OPEN

    def receive(self, data: bytes) -> list[bytes]:
        """The payloads of the messages that are whole now."""
        self._websocket.receive_data(data)
        found = []
        for frame in self._websocket.events_received():
            opcode = getattr(frame, "opcode", None)
            if opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
                self._parts.append(bytes(frame.data))  # type: ignore[union-attr]
                if frame.fin:  # type: ignore[union-attr]
                    found.append(b"".join(self._parts))
                    self._parts.clear()
        self._flush()
        return found

    def send(self, payload: bytes, *, text: bool = False) -> None:
        """Send a message. Raises Cancelled when the connection is being closed."""
        if not self.open:
            raise Cancelled("the client has closed the connection")
        if text:
            self._websocket.send_text(payload)
        else:
            self._websocket.send_binary(payload)
        self._flush()

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin to close, unless that has begun."""
        if self.open:
            self._websocket.send_close(code, reason)
            self._flush()

    def ping(self) -> None:
        """Send a ping."""
        if self.open:
            self._websocket.send_ping(b"")
            self._flush(activity=False)

    def _flush(self, *, activity: bool = True) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._carrier.write(data, activity=activity)
            else:
                self._carrier.close()


class WebSocketSession(Session):
    """Channels that a subprotocol numbers."""

    tells_ends = False

    def __init__(self, carrier: Carrier, subprotocol: Subprotocol) -> None:
        super().__init__(carrier, subprotocol.version)
        self._messages = Messages(carrier)
        self._subprotocol = subprotocol
        self._to_client: set[int] = set()

    def receive(self, data: bytes) -> None:
        for payload in self._messages.receive(data):
            try:
                number, content = self._subprotocol.decode(payload)
            except ValueError as error:
                logger.info("a client is cut off: %s", error)
                self._messages.close(INVALID_DATA, str(error)[:100])
                return
            if self._subprotocol.closes and number == Number.CLOSE:
                number, ended = content[0], True
            else:
                ended = False
            channel = self._channels.get(number)
            # The client has no business on the others; it may send an empty message on any to keep them alive.
            if channel is None or number in self._to_client:
                continue
            if ended:
                channel.feed_end()
            else:
                self._feed(channel, content)

    async def remote_channels(self, kinds: Iterable[str]) -> dict[str, Channel]:
        found = {}
        for kind in kinds:
            found[kind] = self.open(CHANNELS[kind])
            if kind not in {STDIN, RESIZE}:
                self._to_client.add(CHANNELS[kind])
        # Tells the client that all is set up: some wait for a first message.
        self._send(CHANNELS[STDOUT], b"")
        return found

    def open(self, number: int, *, to_client: bool = False) -> Channel:
        """A channel by its number. ``to_client``: what the client sends on it is dropped."""
        channel = self._channels[number] = Channel(self, number, {})
        if to_client:
            self._to_client.add(number)
        return channel

    async def write(self, channel: Channel, data: bytes) -> None:
        await self._carrier.drained()
        self._send(channel.key, data)

    def close_channel(self, channel: Channel) -> None:
        # Towards the client there is no such signal: the Go client reports the one of v5 as an unknown stream.
        return

    def reset_channel(self, channel: Channel) -> None:
        self._channels.pop(channel.key, None)
        self._carrier.release(channel.key)

    def finish(self) -> None:
        self._messages.close()

    def ping(self) -> None:
        self._messages.ping()

    def _send(self, number: int, data: bytes) -> None:
        self._messages.send(self._subprotocol.encode(number, data), text=self._subprotocol.text)


class Tunnel:
    """Carries another session's bytes in binary messages."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._messages = Messages(carrier)

    def receive(self, data: bytes) -> list[bytes]:
        """The session's bytes in what has come from the client."""
        return self._messages.receive(data)

    def write(self, data: bytes, *, activity: bool = True) -> None:
        if data and self._messages.open:
            self._messages.send(data)

    async def drained(self) -> None:
        await self._carrier.drained()

    def hold(self, key: Hashable) -> None:
        self._carrier.hold(key)

    def release(self, key: Hashable) -> None:
        self._carrier.release(key)

    def close(self) -> None:
        self._messages.close()


class Tunnelled:
    """Takes a connection's bytes for a session that has a tunnel for its carrier."""

    def __init__(self, tunnel: Tunnel, session: Session) -> None:
        self._tunnel = tunnel
        self._session = session

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        for payload in self._tunnel.receive(data):
            self._session.receive(payload)
