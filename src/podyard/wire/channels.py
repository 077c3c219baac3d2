"""Channels in WebSocket messages: the subprotocols ``channel.k8s.io`` and ``base64.channel.k8s.io``.

A message's first byte is the channel's number. In the base64 variants it is the number's digit, and what follows is
base64 text. Port-forward has two channels a port, the data's and its error's, and each begins with the port's number
in two bytes, the lower first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from podyard.wire.remotecommand import PORT_FORWARD, SPDY_UPGRADE, V1, V4, V5, Channel

_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""

BASE64, V4_BASE64 = "base64.channel.k8s.io", "v4.base64.channel.k8s.io"
TUNNEL = f"{SPDY_UPGRADE}+{PORT_FORWARD}"
"""port-forward's SPDY session as a stream of bytes in binary messages (Kubernetes' KEP 4006)."""


@dataclass(frozen=True)
class Subprotocol:
    """``version``: the one of remotecommand whose messages it has. ``text``: base64 in text messages."""

    name: str
    version: str
    text: bool = False

    @property
    def closes(self) -> bool:
        """Whether it has the close signal."""
        return self.version == V5

    def encode(self, channel: int, data: bytes) -> bytes:
        """A message's payload."""
        if self.text:
            return b"%c" % (ord("0") + channel) + base64.b64encode(data)
        return b"%c" % channel + data

    def close_signal(self, channel: int) -> bytes:
        """The message that ends a channel; empty where the subprotocol has none."""
        return bytes((Channel.CLOSE, channel)) if self.closes else b""

    def decode(self, payload: bytes) -> tuple[int, bytes]:
        """Channel and data; (Channel.CLOSE, the number as one byte) for the close signal.

        Raises ValueError for what is no message of this subprotocol.
        """
        if not payload:
            raise ValueError("a message without a channel")
        number = payload[0]
        if self.text:
            try:
                return number - ord("0"), base64.b64decode(payload[1:], validate=True)
            except binascii.Error as error:
                raise ValueError(f"a message that is no base64: {error}") from error
        if self.closes and number == Channel.CLOSE and len(payload) != 2:
            raise ValueError(f"a close signal of {len(payload)} bytes")
        return number, payload[1:]


REMOTE_COMMAND: Mapping[str, Subprotocol] = {
    protocol.name: protocol
    for protocol in (
        Subprotocol(V5, V5),
        Subprotocol(V4, V4),
        Subprotocol(V4_BASE64, V4, text=True),
        Subprotocol(V1, V1),
        Subprotocol(BASE64, V1, text=True),
        Subprotocol("", V1),
    )
}
"""What exec and attach speak over WebSocket; a client that names none gets the empty one."""

FORWARD: Mapping[str, Subprotocol] = {
    protocol.name: protocol
    for protocol in (Subprotocol(V4, V4), Subprotocol(V4_BASE64, V4, text=True), Subprotocol("", V4))
}
"""What port-forward speaks over WebSocket, besides TUNNEL."""


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_SALT, usedforsecurity=False).digest()).decode()


def port_prefix(port: int) -> bytes:
    """What a port-forward channel begins with."""
    return port.to_bytes(2, "little")
