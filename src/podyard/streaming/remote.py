"""Exec and attach on a session: the client's streams, and the status at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from podyard.errors import Cancelled, PodyardError, translate
from podyard.streaming.session import Channel, Session
from podyard.wire.remotecommand import (
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    ResizeReader,
    Status,
    WindowSize,
    has_resize,
)

logger = logging.getLogger(__name__)


class Streams:
    """What a client has opened; None for what it did not ask for."""

    def __init__(self, channels: dict[str, Channel]) -> None:
        self.stdin = channels.get(STDIN)
        self.stdout = channels.get(STDOUT)
        self.stderr = channels.get(STDERR)
        self._resize = channels.get(RESIZE)

    async def sizes(self) -> AsyncIterator[WindowSize]:
        """The sizes of the client's terminal as they change; ends when none will come."""
        if self._resize is None:
            return
        reader = ResizeReader()
        while data := await self._resize.read():
            try:
                found = reader.feed(data)
            except ValueError as error:
                logger.info("a client's terminal keeps its size: %s", error)
                return
            for size in found:
                yield size


@dataclass(frozen=True)
class RemoteCommand:
    """Exec or attach. ``what``: for the log. ``run`` ends with the status, or raises PodyardError: that is told too.

    It is cancelled when the client goes away.
    """

    client_ends: ClassVar[bool] = True
    what: str
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    run: Callable[[Streams], Awaitable[Status]]

    async def serve(self, session: Session, open_timeout: float) -> None:
        """Serve a session to its end. Raises TimeoutError when the client does not open its streams in time."""
        asked = {STDIN: self.stdin, STDOUT: self.stdout, STDERR: self.stderr and not self.tty}
        kinds = [ERROR, *(kind for kind, wanted in asked.items() if wanted)]
        if self.tty and has_resize(session.protocol):
            kinds.append(RESIZE)
        async with asyncio.timeout(open_timeout):
            channels = await session.remote_channels(kinds)
        status = await self._run(Streams(channels))
        logger.debug("%s has ended: %s", self.what, status)
        for kind in (STDOUT, STDERR, STDIN, RESIZE):
            if kind in channels:
                channels[kind].close()
        content = status.encode(session.protocol)
        try:
            if content:
                await channels[ERROR].write(content)
        except Cancelled:
            logger.debug("%s: the client did not want to know the status", self.what)
        channels[ERROR].close()

    async def _run(self, streams: Streams) -> Status:
        try:
            return await self.run(streams)
        except PodyardError as error:
            logger.info("%s: %s", self.what, error)
            return Status(None, str(error))
        except Exception as error:
            logger.exception("%s failed unexpectedly", self.what)
            return Status(None, str(translate(error, self.what)))
