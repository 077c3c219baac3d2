"""A streaming server on a real socket, and commands for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podyard.errors import Unavailable
from podyard.streaming import Forward, RemoteCommand, StreamingConfig, StreamingServer, Streams
from podyard.wire.remotecommand import Status

UNUSED = Path("/dev/null/own.pem")


@contextlib.asynccontextmanager
async def serving(certificate: Path = UNUSED, **settings: object) -> AsyncIterator[StreamingServer]:
    """A server with these settings. ``certificate``: where its own one is kept."""
    server = StreamingServer(msgspec.convert(settings, StreamingConfig, strict=False), certificate)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def cat(streams: Streams) -> Status:
    """Gives back what it gets."""
    assert streams.stdin is not None
    assert streams.stdout is not None
    while data := await streams.stdin.read():
        await streams.stdout.write(data)
    return Status(5)


class Waiting:
    """A command that lasts until it is cancelled."""

    def __init__(self) -> None:
        self.began, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, streams: Streams) -> Status:
        self.began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.cancelled.set()
        return Status()


def command(run: object = cat, **more: bool) -> RemoteCommand:
    options = {"stdin": True, "stdout": True, "stderr": False, "tty": False, **more}
    return RemoteCommand(what="a test", run=run, **options)  # type: ignore[arg-type]


@dataclass
class Echo:
    """Gives back what it gets: as a command, and behind a port. What runs is counted."""

    running: int = 0
    begun: int = 0
    port: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, streams: Streams) -> Status:
        assert streams.stdin is not None
        assert streams.stdout is not None
        self.running, self.begun = self.running + 1, self.begun + 1
        try:
            while data := await streams.stdin.read():
                await streams.stdout.write(data)
            return Status()
        finally:
            self.running -= 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running, self.begun = self.running + 1, self.begun + 1
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.running -= 1
            writer.close()

    @property
    def forward(self) -> Forward:
        """Port-forward to the port, whatever the client calls it; nobody listens at 81."""
        return Forward(what="a test", ports=(80,), dial=self._dial, ended=self.ended.wait)

    async def _dial(self, port: int) -> socket.socket:
        if port == 81:
            raise Unavailable("nobody listens at port 81")
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        return connection


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Echo]:
    echo = Echo()
    listener = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = listener.sockets[0].getsockname()[1]
    try:
        yield echo
    finally:
        listener.close()
