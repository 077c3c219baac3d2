"""A client's connection handed on to the runtime's streaming server, byte for byte.

Nothing of what they say to each other is looked at, but for whether the server agrees to it at all.
"""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web

from podyard.client.streams.dial import unverified
from podyard.client.streams.link import keep_alive
from podyard.client.streams.target import Target
from podyard.errors import DeadlineExceeded, InvalidArgument, Unavailable
from podyard.node.serving.auth import Forbidden

CONNECT = 10.0
"""Seconds for the connection to the runtime."""
BEGIN = 30.0
"""Seconds in which the runtime's server is to answer."""
LAST_BYTES = 30.0
"""Seconds that one end gets to take what is left after the other has hung up."""
AHEAD = 256 << 10
"""Bytes that wait for one end before the other is read no further."""
_AGREES = b"HTTP/1.1 101 "

_HOP = ("host", "content-length", "transfer-encoding", "te", "trailer", "keep-alive", "proxy-connection")
_SECRETS = ("authorization", "cookie", "origin", "proxy-authorization")
_DROPPED = frozenset((*_HOP, *_SECRETS))


def check_upgrade(request: web.Request) -> None:
    """Raises InvalidArgument for a request that asks for no upgrade or has a body, Forbidden for one that a page
    of another server made (RFC 6455, 10.2): a browser would add its certificate to it."""
    words = {word.strip().lower() for line in request.headers.getall("Connection", ()) for word in line.split(",")}
    if "upgrade" not in words or not request.headers.get("Upgrade"):
        raise InvalidArgument("this has to be asked for with an upgrade, to SPDY/3.1 or websocket")
    if request.body_exists:
        raise InvalidArgument("a request for an upgrade has no body")
    origin = request.headers.get("Origin")
    if origin and origin.partition("://")[2].lower() != request.host.lower():
        raise Forbidden("a page of another server may not do this")


async def relay(request: web.Request, url: str) -> web.StreamResponse:
    """Give the request to the server at ``url``, its answer to the client, and then both whatever the other says.

    Returns when both connections are closed. Raises Internal for a URL that cannot be used, Unavailable or
    DeadlineExceeded when nobody answers there: the client's connection is as it was then.
    """
    target = Target.parse(url)
    front_transport = request.transport
    if front_transport is None:
        raise Unavailable("the client has gone")
    front, back = _End(), _Back()
    front.other, back.other = back, front
    await _connect(target, back)
    before = front_transport.get_protocol()
    try:
        # What arrives from here on is the new protocol's: clients send nothing before they have an answer.
        front_transport.set_protocol(front)
        front.connection_made(front_transport)
        front_transport.resume_reading()
        back.write(_head(request, target))
        try:
            async with asyncio.timeout(BEGIN):
                await back.begun.wait()
        except TimeoutError:
            back.abort()
        await back.closed.wait()
        await front.closed.wait()
    finally:
        back.abort()
        front.abort()
        before.connection_lost(None)
    return web.Response()  # goes nowhere: the connection is gone


async def _connect(target: Target, back: _Back) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT):
            await loop.create_connection(
                lambda: back, target.host, target.port, ssl=unverified() if target.tls else None
            )
    except TimeoutError as error:
        raise DeadlineExceeded(f"the runtime's streaming server at {target} does not answer") from error
    except OSError as error:
        raise Unavailable(f"cannot reach the runtime's streaming server at {target}: {error}") from error


def _head(request: web.Request, target: Target) -> bytes:
    """The request as the runtime's server gets it: for its own URL, and without what let the client in here."""
    lines = [f"{request.method} {target.resource} HTTP/1.1", f"Host: {target.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in _DROPPED]
    if request.method == "POST":
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


class _End(asyncio.Protocol):
    """One of the two connections: what arrives is written to the other."""

    other: _End

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.deaf = False
        """Whether nothing more is taken from it."""
        self._transport: asyncio.Transport | None = None
        self._given_up: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def hang_up(self) -> None:
        """Close, after what is left was taken; not for long."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.close()
            self._given_up = self._given_up or asyncio.get_running_loop().call_later(LAST_BYTES, self.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def hold(self) -> None:
        """Read no further."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.pause_reading()

    def go_on(self) -> None:
        if self._transport is not None and not self.closed.is_set():
            self._transport.resume_reading()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=AHEAD)
        keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self.hang_up()
        else:
            self.other.write(data)

    def pause_writing(self) -> None:
        self.other.hold()

    def resume_writing(self) -> None:
        self.other.go_on()

    def connection_lost(self, error: Exception | None) -> None:
        if self._given_up is not None:
            self._given_up.cancel()
        self.closed.set()
        self.other.hang_up()


class _Back(_End):
    """The runtime's. A server that does not agree hears no more of the client: it was asked for one thing only."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        """Set when it has answered, or has gone."""
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        if not self.begun.is_set():
            self._answer = (self._answer + data)[: len(_AGREES)]
            if len(self._answer) == len(_AGREES):
                self.other.deaf = self._answer != _AGREES
                self.begun.set()
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.begun.set()
