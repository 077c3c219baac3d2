"""The HTTP request that turns a connection into a SPDY one, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h11

from podyard.client.streams.link import Refused
from podyard.client.streams.target import Target
from podyard.wire.remotecommand import PROTOCOL_HEADER, SPDY_UPGRADE

__all__ = ["REASON_LIMIT", "SpdyUpgrade", "Switched", "reason_text"]

HEAD_LIMIT = 64 << 10
"""Bytes of an answer's head."""
REASON_LIMIT = 4 << 10
"""Bytes of a refusal's body that are kept."""


@dataclass(frozen=True)
class Switched:
    """The server speaks SPDY now. ``protocol``: what it chose, "" when it names none; ``rest``: its first bytes."""

    protocol: str
    rest: bytes


class SpdyUpgrade:
    """Asks for SPDY/3.1 and one of some protocols on it, the preferred one first."""

    def __init__(self, target: Target, protocols: Sequence[str]) -> None:
        self._protocols = protocols
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._request = h11.Request(
            method="POST",
            target=target.resource,
            headers=[
                ("Host", target.authority),
                ("Connection", "Upgrade"),
                ("Upgrade", SPDY_UPGRADE),
                ("Content-Length", "0"),
                *((PROTOCOL_HEADER, protocol) for protocol in protocols),
            ],
        )
        self._refusal: h11.Response | None = None
        self._body = b""

    def request(self) -> bytes:
        """The bytes to send."""
        return (self._http.send(self._request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> Switched | None:
        """Take what has arrived; None while more must come. Raises Refused for any other answer than the switch."""
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if switched := self._handle(event):
                    return switched
        except h11.RemoteProtocolError as error:
            raise Refused(0, f"its answer is not HTTP: {error}") from error

    def _handle(self, event: object) -> Switched | None:
        match event:
            case h11.InformationalResponse(status_code=101):
                return self._switched(event)
            case h11.Response():
                self._refusal = event
            case h11.Data():
                self._body = (self._body + bytes(event.data))[:REASON_LIMIT]
                if len(self._body) == REASON_LIMIT:
                    raise self._refused()
            case h11.EndOfMessage() | h11.ConnectionClosed():
                raise self._refused()
        return None

    def _switched(self, answer: h11.InformationalResponse) -> Switched:
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in answer.headers}
        if headers.get(b"upgrade", "").upper() != SPDY_UPGRADE:
            raise Refused(101, f"it switched to {headers.get(b'upgrade', 'nothing')!r} instead of {SPDY_UPGRADE}")
        protocol = headers.get(PROTOCOL_HEADER.lower().encode(), "")
        if protocol and protocol not in self._protocols:
            raise Refused(101, f"it chose the protocol {protocol!r} of none that were offered")
        return Switched(protocol, self._http.trailing_data[0])

    def _refused(self) -> Refused:
        if self._refusal is None:
            return Refused(0, "it closed the connection without an answer")
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in self._refusal.headers}
        return Refused(
            self._refusal.status_code,
            reason_text(self._refusal.status_code, self._body),
            headers.get(b"location", ""),
        )


def reason_text(status: int, body: bytes) -> str:
    """A refusal in words."""
    text = " ".join(body[:REASON_LIMIT].decode(errors="replace").split())
    return f"HTTP status {status}" + (f": {text}" if text else "")
