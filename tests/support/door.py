"""A runtime's socket that a test can close and open again, while the runtime itself goes on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path


class Door:
    """Passes connections at ``path`` on to another socket.

    To its clients ``close`` is a runtime that is gone, ``cut`` one that was restarted.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._through: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"unix://{self.path}"

    async def open(self) -> None:
        """Let connections in."""
        self._server = await asyncio.start_unix_server(self._pass, self.path)

    async def close(self) -> None:
        """Cut all connections and let none in."""
        assert self._server is not None
        self._server.close()
        self.path.unlink(missing_ok=True)
        await self.cut()

    async def cut(self) -> None:
        """Cut all connections; who connects again is let in."""
        for task in list(self._through):
            task.cancel()
        if self._through:
            await asyncio.wait(self._through)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._through.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        try:
            with suppress(asyncio.CancelledError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, far_writer))
                    group.create_task(_copy(far_reader, writer))
        finally:
            self._through.discard(task)
            for one in (writer, far_writer):
                one.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
