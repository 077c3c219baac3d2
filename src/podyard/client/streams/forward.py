"""Port-forward: connections to ports in a pod.

Each has a connection of its own to the streaming server. One could carry many, but servers in Go have no windows: a
reader who is slow would hold up all others. And so a forward goes on when the runtime was restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from podyard.client.streams.channels import CHUNK, Inbound, Outbound
from podyard.client.streams.dial import Transport, agree, dial
from podyard.client.streams.link import Link
from podyard.client.streams.spdy import SpdyLink
from podyard.client.streams.websocket import WebSocketLink
from podyard.errors import DataLoss, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from podyard.wire import channels, remotecommand

__all__ = ["Connection", "PortForward"]

ERROR_LIMIT = 16 << 10
"""Bytes of an error's text."""
OPENING = 30.0
"""Seconds for opening the streams: servers give up after as many."""
ERROR_PATIENCE = 5.0
"""Seconds for an error's text after the end of the data."""
DATA_CHANNEL, ERROR_CHANNEL = 0, 1


class Connection:
    """A connection to a port in a pod. Ends by ``close``, or as an asynchronous context manager."""

    def __init__(self, port: int, link: Link, inbound: Inbound, outbound: Outbound, error: Inbound) -> None:
        self.port = port
        self._link = link
        self._inbound = inbound
        self._outbound = outbound
        self._error = error

    @property
    def closed(self) -> bool:
        """Whether either end has hung up."""
        return self._link.closed

    async def read(self, limit: int = CHUNK) -> bytes:
        """What the pod has sent, ``limit`` bytes at most; b"" at its end.

        Raises Unavailable with the runtime's text when the port could not be reached or the connection failed there.
        """
        data = await self._inbound.read(limit)
        if not data:
            await self._check()
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more. Raises FailedPrecondition once nothing is taken any more."""
        await self._outbound.write(data)

    async def end(self) -> None:
        """Send no more; the pod may go on sending. Raises Unimplemented over WebSocket, which cannot say it."""
        await self._outbound.close()

    async def close(self) -> None:
        """Hang up. Closing twice is no error."""
        await self._link.close()

    async def _check(self) -> None:
        # Servers end the two channels one after the other, in either order (containerd the data first), and the error's
        # end says that there was none. One that keeps it open is waited for in vain, so not for long.
        text = bytearray()
        try:
            async with asyncio.timeout(ERROR_PATIENCE):
                async for piece in self._error:
                    text += piece[: ERROR_LIMIT - len(text)]
        except (TimeoutError, Unavailable):
            pass  # the data has come to its end: a connection that is gone after it takes nothing away
        if text:
            raise Unavailable(f"port {self.port}: {text.decode(errors='replace').strip()}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class PortForward:
    """Makes connections to ports in one pod. ``ask(port)`` gives a URL for one connection."""

    def __init__(self, ask: Callable[[int], Awaitable[str]], transport: Transport) -> None:
        self._ask = ask
        self._transport = transport
        self._open: set[Connection] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether this end has hung up all."""
        return self._closed

    async def connect(self, port: int) -> Connection:
        """A connection to a port in the pod. Whether something listens there shows when it is read.

        Raises InvalidArgument for what is no port, what the runtime answers, and what ``agree`` and ``dial`` raise.
        """
        if not 0 < port < 65536:
            raise InvalidArgument(f"{port} is no port: 1 to 65535 are")
        if self._closed:
            raise FailedPrecondition("this port-forward is closed")
        made = await agree(self._transport, lambda: self._over_spdy(port), lambda: self._over_websocket(port))
        self._open = {connection for connection in self._open if not connection.closed} | {made}
        return made

    async def close(self) -> None:
        """Hang up all connections."""
        self._closed = True
        await asyncio.gather(*(connection.close() for connection in self._open))

    async def _over_spdy(self, port: int) -> Connection:
        link = await dial(await self._ask(port), lambda target: SpdyLink(target, (remotecommand.PORT_FORWARD,)))
        headers = {remotecommand.PORT: str(port), remotecommand.REQUEST_ID: "0"}
        try:
            async with asyncio.timeout(OPENING):
                # In this order: a data stream whose error stream is not there yet is refused by some.
                error = await link.open({**headers, remotecommand.STREAM_TYPE: remotecommand.ERROR}, fin=True)
                data = await link.open({**headers, remotecommand.STREAM_TYPE: remotecommand.DATA})
        except TimeoutError as timeout:
            await link.close()
            raise DeadlineExceeded(f"{link.peer} did not accept the streams within {OPENING:.0f} s") from timeout
        except BaseException:
            await link.close()
            raise
        return Connection(port, link, data.inbound, data.outbound, error.inbound)

    async def _over_websocket(self, port: int) -> Connection:
        link = await dial(await self._ask(port), lambda target: WebSocketLink(target, (remotecommand.V4,), 2))
        data, error = link.inbound(DATA_CHANNEL), link.inbound(ERROR_CHANNEL)
        try:
            async with asyncio.timeout(OPENING):
                for channel in (data, error):
                    await _expect_prefix(channel, port, link.peer)
        except TimeoutError as timeout:
            await link.close()
            raise DeadlineExceeded(f"{link.peer} did not begin within {OPENING:.0f} s") from timeout
        except BaseException:
            await link.close()
            raise
        return Connection(port, link, data, link.outbound(DATA_CHANNEL), error)


async def _expect_prefix(channel: Inbound, port: int, peer: str) -> None:
    found, wanted = b"", channels.port_prefix(port)
    while len(found) < len(wanted):
        piece = await channel.read(len(wanted) - len(found))
        if not piece:
            raise Unavailable(f"{peer} ended the session before it began")
        found += piece
    if found != wanted:
        raise DataLoss(f"{peer} began with {found.hex()} where the port {port} should stand")
