"""A streaming server on a real socket, and commands for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from podyard.streaming import RemoteCommand, StreamingConfig, StreamingServer, Streams
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
