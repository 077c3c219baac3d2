"""Exec and attach: a process' standard streams, its terminal's size, its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from podyard.client.streams.channels import Inbound, Outbound
from podyard.client.streams.dial import Transport, agree, dial
from podyard.client.streams.link import Link
from podyard.client.streams.spdy import SpdyLink
from podyard.client.streams.websocket import WebSocketLink
from podyard.errors import DataLoss, DeadlineExceeded, FailedPrecondition, Internal, Unavailable
from podyard.wire import remotecommand

__all__ = ["Output", "Session", "Wanted", "open_session"]

STATUS_LIMIT = 64 << 10
"""Bytes of a status."""
OPENING = 30.0
"""Seconds for opening the streams: servers give up after as many."""

SPDY_PROTOCOLS = (remotecommand.V4, remotecommand.V3, remotecommand.V2, remotecommand.V1)
"""v5 is about a close signal, which SPDY has by itself: clients offer it over WebSocket alone."""
WEBSOCKET_PROTOCOLS = (remotecommand.V5, remotecommand.V4, remotecommand.V1)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which of a process' streams a session has."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def names(self, *, resize: bool) -> Iterator[str]:
        """The streams to open, by their names in the protocol."""
        yield remotecommand.ERROR
        for name in (remotecommand.STDIN, remotecommand.STDOUT, remotecommand.STDERR):
            if getattr(self, name):
                yield name
        if self.tty and resize:
            yield remotecommand.RESIZE


@dataclass(frozen=True)
class Output:
    """Something that the process wrote."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Session:
    """A process' standard streams. All that was asked for of ``stdout`` and ``stderr`` must be read: what is not read
    holds the whole session up. Iterating gives both as they come.

    ``stdin``, ``stdout``, ``stderr``: those that were not asked for are closed. ``protocol``: what was agreed on.
    """

    def __init__(
        self, link: Link, protocol: str, inbound: dict[str, Inbound], outbound: dict[str, Outbound], error: Inbound
    ) -> None:
        self.protocol = protocol or remotecommand.V1
        self.stdin = outbound.get(remotecommand.STDIN) or _closed(link, "standard input")
        self.stdout = inbound.get(remotecommand.STDOUT) or _empty()
        self.stderr = inbound.get(remotecommand.STDERR) or _empty()
        self._resize = outbound.get(remotecommand.RESIZE)
        self._error = error
        self._status = bytearray()
        self._waiting = asyncio.Lock()

    async def resize(self, width: int, height: int) -> None:
        """Tell the process' terminal its size, in characters.

        Nothing happens where there is no terminal, where the runtime's protocol is too old for it, or once the process
        has ended.
        """
        if self._resize is None:
            return
        try:
            await self._resize.write(remotecommand.WindowSize(width, height).encode())
        except (FailedPrecondition, Unavailable):
            self._resize = None

    async def wait(self) -> int:
        """Wait for the end of the session; the exit code. After attach it is 0: the protocol does not have it there.

        Its output must be read meanwhile. Raises Internal with what the runtime says when the process could not be run
        (protocols before v4 cannot tell that from an exit code), Unavailable when the session ended without a status,
        DataLoss for a status that is none.
        """
        async with self._waiting:
            try:
                async for piece in self._error:
                    self._status += piece
                    if len(self._status) > STATUS_LIMIT:
                        raise DataLoss(f"the runtime sent a status of more than {STATUS_LIMIT} bytes")
            except Unavailable as error:
                if not self._status:
                    raise Unavailable(f"the session ended without a status: {error}") from error
        return self._exit_code()

    async def __aiter__(self) -> AsyncIterator[Output]:
        channels: dict[Literal["stdout", "stderr"], Inbound] = {"stdout": self.stdout, "stderr": self.stderr}
        reading = {asyncio.create_task(channel.read()): name for name, channel in channels.items()}
        try:
            while reading:
                done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    name = reading.pop(task)
                    if data := task.result():
                        reading[asyncio.create_task(channels[name].read())] = name
                        yield Output(name, data)
        finally:
            for task in reading:
                task.cancel()

    def _exit_code(self) -> int:
        if not self._status and remotecommand.has_status(self.protocol):
            raise Unavailable("the session ended without a status: the runtime was stopped, or gave the process up")
        try:
            status = remotecommand.Status.decode(bytes(self._status), self.protocol)
        except ValueError as error:
            raise DataLoss(f"the session's end cannot be told: {error}") from error
        if status.exit_code is None:
            raise Internal(status.message.strip())
        return status.exit_code


@asynccontextmanager
async def open_session(
    ask: Callable[[], Awaitable[str]], wanted: Wanted, transport: Transport
) -> AsyncIterator[Session]:
    """A session while the block lasts; leaving it hangs up. ``ask`` gives a URL for one session.

    Raises what ``ask``, ``agree`` and ``dial`` raise, and DeadlineExceeded when the streams cannot be opened in time.
    """
    link, session = await agree(transport, lambda: _over_spdy(ask, wanted), lambda: _over_websocket(ask, wanted))
    try:
        yield session
    finally:
        await link.close()


async def _over_spdy(ask: Callable[[], Awaitable[str]], wanted: Wanted) -> tuple[Link, Session]:
    link = await dial(await ask(), lambda target: SpdyLink(target, SPDY_PROTOCOLS))
    names = list(wanted.names(resize=remotecommand.has_resize(link.protocol)))
    try:
        async with asyncio.timeout(OPENING):
            opened = await asyncio.gather(*(link.open({remotecommand.STREAM_TYPE: name}) for name in names))
    except TimeoutError as error:
        await link.close()
        raise DeadlineExceeded(f"{link.peer} did not accept the session's streams within {OPENING:.0f} s") from error
    except BaseException:
        await link.close()
        raise
    streams = dict(zip(names, opened, strict=True))
    inbound = {name: stream.inbound for name, stream in streams.items()}
    outbound = {name: stream.outbound for name, stream in streams.items()}
    return link, Session(link, link.protocol, inbound, outbound, inbound[remotecommand.ERROR])


async def _over_websocket(ask: Callable[[], Awaitable[str]], wanted: Wanted) -> tuple[Link, Session]:
    numbers = {name: remotecommand.CHANNELS[name] for name in wanted.names(resize=True)}
    count = len(remotecommand.CHANNELS)
    link = await dial(await ask(), lambda target: WebSocketLink(target, WEBSOCKET_PROTOCOLS, count))
    inbound = {name: link.inbound(number) for name, number in numbers.items()}
    outbound = {name: link.outbound(number) for name, number in numbers.items()}
    return link, Session(link, link.protocol, inbound, outbound, inbound[remotecommand.ERROR])


def _empty() -> Inbound:
    channel = Inbound()
    channel.end()
    return channel


def _closed(link: Link, what: str) -> Outbound:
    channel = Outbound(lambda data, last: None, link.drained)
    channel.refuse(f"the session was opened without {what}")
    return channel
