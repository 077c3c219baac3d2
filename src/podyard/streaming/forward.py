"""Port-forward on a session: connections into a pod, each with a stream of its own for errors."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from podyard.errors import Cancelled, PodyardError, translate
from podyard.streaming.descriptor import Descriptor
from podyard.streaming.session import Channel, Session
from podyard.streaming.spdy import SpdySession
from podyard.streaming.websocket import WebSocketSession
from podyard.wire.channels import port_prefix
from podyard.wire.remotecommand import DATA, ERROR, PORT, REQUEST_ID, STREAM_TYPE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forward:
    """Port-forward. ``ports``: what a WebSocket client gets; over SPDY it names them itself. ``dial`` connects to a
    port of the pod; it raises PodyardError, and that is told to the client. ``ended``: returns when the pod has ended.
    """

    client_ends: ClassVar[bool] = False
    what: str
    ports: tuple[int, ...]
    dial: Callable[[int], Awaitable[socket.socket]]
    ended: Callable[[], Awaitable[object]]

    async def serve(self, session: Session, open_timeout: float) -> None:
        """Serve a session until the pod ends; it is cancelled when the client goes away."""
        connections = Connections(self, session.tells_ends)
        ended = asyncio.ensure_future(self.ended())
        if isinstance(session, SpdySession):
            serving = asyncio.create_task(_serve_spdy(session, connections, open_timeout))
        else:
            assert isinstance(session, WebSocketSession)
            serving = asyncio.create_task(_serve_websocket(session, connections, self.ports))
        try:
            await asyncio.wait({ended, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            ended.cancel()
            serving.cancel()
            await asyncio.gather(ended, serving, return_exceptions=True)
            await connections.close()


class Connections:
    """The connections of one session."""

    def __init__(self, forward: Forward, half_closed: bool) -> None:
        self._forward = forward
        self._half_closed = half_closed
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, port: int, data: Channel, errors: Channel) -> None:
        """Connect to a port and relay until both sides have ended."""
        task = asyncio.create_task(self._run(port, data, errors))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def all_ended(self) -> None:
        """Wait until none is left."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cut all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, port: int, data: Channel, errors: Channel) -> None:
        try:
            peer = await self._forward.dial(port)
            with peer:
                await _relay(data, errors, peer, self._half_closed)
        except Cancelled:
            logger.debug("%s: the client gave up a connection to port %d", self._forward.what, port)
        except (PodyardError, OSError) as error:
            if not isinstance(error, PodyardError):
                error = translate(error, f"forwarding port {port}")
            logger.info("%s: %s", self._forward.what, error)
            await _tell(errors, str(error))
        finally:
            for channel in (errors, data):
                channel.close()
                # Whatever the client still sends on them has no place to go.
                channel.reset()


async def _tell(errors: Channel, text: str) -> None:
    try:
        await errors.write(text.encode())
    except Cancelled:
        logger.debug("the client did not want to know: %s", text)


async def _relay(data: Channel, errors: Channel, peer: socket.socket, half_closed: bool) -> None:
    """Both directions to their ends; an error of one ends the other.

    ``half_closed``: the client may go on sending when the pod has ended its side; otherwise nobody could tell it.
    """
    stream = Descriptor(peer.detach())
    try:
        to_pod, to_client = (
            asyncio.create_task(_to_pod(data, stream)),
            asyncio.create_task(_to_client(stream, data, errors)),
        )
        tasks = {to_pod, to_client}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION if half_closed else asyncio.FIRST_COMPLETED)
            if to_pod.done():
                to_pod.result()
            await to_client
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        stream.close()


async def _to_pod(data: Channel, stream: Descriptor) -> None:
    try:
        while content := await data.read():
            await stream.write(content)
    except OSError:
        # The pod takes no more, and may still have an answer under way.
        while await data.read():
            continue
    stream.shut_down()


async def _to_client(stream: Descriptor, data: Channel, errors: Channel) -> None:
    while content := await stream.read():
        await data.write(content)
    # A client that has all the data looks here for an error: it must not wait until its own side has ended too.
    errors.close()
    data.close()


async def _serve_spdy(session: SpdySession, connections: Connections, open_timeout: float) -> None:
    """Pair the streams that the client opens: an error stream and a data stream with the same request id."""
    loop = asyncio.get_running_loop()
    waiting: dict[str, tuple[Channel, asyncio.TimerHandle]] = {}

    def give_up(key: str) -> None:
        waiting.pop(key)[0].reset()

    try:
        while True:
            channel = await session.accept()
            kind, port = channel.headers.get(STREAM_TYPE), _port(channel.headers.get(PORT, ""))
            if kind not in {DATA, ERROR} or port is None:
                logger.info("a stream of type %r for port %r is refused", kind, channel.headers.get(PORT))
                channel.reset()
                continue
            # Old clients number nothing: their data stream follows right after its error stream.
            key = channel.headers.get(REQUEST_ID) or f"stream {channel.key if kind == ERROR else channel.key - 2}"
            if key not in waiting:
                waiting[key] = channel, loop.call_later(open_timeout, give_up, key)
                continue
            other, timer = waiting[key]
            if other.headers.get(STREAM_TYPE) == kind:
                logger.info("a second %s stream of request %s is refused", kind, key)
                channel.reset()
                continue
            del waiting[key]
            timer.cancel()
            connections.open(port, *((channel, other) if kind == DATA else (other, channel)))
    finally:
        for _, timer in waiting.values():
            timer.cancel()


async def _serve_websocket(session: WebSocketSession, connections: Connections, ports: tuple[int, ...]) -> None:
    """One connection a port, all at once."""
    for index, port in enumerate(ports):
        data, errors = session.open(2 * index), session.open(2 * index + 1, to_client=True)
        for channel in (data, errors):
            await channel.write(port_prefix(port))
        connections.open(port, data, errors)
    await connections.all_ended()


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536 else None
