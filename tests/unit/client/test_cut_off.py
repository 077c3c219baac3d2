"""Servers that are gone at any byte of their answer: the client ends with an error, or with all that was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.support.conversations import answer_over_spdy, answer_over_websocket
from tests.support.patience import PATIENCE

from podyard.client.streams import Transport, Wanted, open_session
from podyard.errors import PodyardError
from podyard.wire.channels import accept_key
from podyard.wire.remotecommand import V4, V5
from podyard.wire.spdy import Connection

LIMIT = 30.0 * PATIENCE
SPDY = f"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {V4}"


class Server:
    """Says the first ``size`` bytes of an answer, and hangs up, or resets the connection."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.size = 0
        self.length = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        if self._transport == "spdy":
            head, answer = SPDY, answer_over_spdy()
        else:
            key = next(line.split(": ")[1] for line in request.splitlines() if line.startswith("Sec-WebSocket-Key"))
            head = f"Upgrade: websocket\r\nSec-WebSocket-Accept: {accept_key(key)}\r\nSec-WebSocket-Protocol: {V5}"
            answer = answer_over_websocket()
        switch = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{head}\r\n\r\n".encode()
        self.length = len(switch) + len(answer)
        writer.write(switch[: self.size])
        if self.size > len(switch):
            if self._transport == "spdy":
                await _opened(reader)
            writer.write(answer[: self.size - len(switch)])
        if self.size % 2 and self.size < self.length:
            writer.transport.abort()
            return
        writer.write_eof()
        with suppress(ConnectionError):
            while await reader.read(65536):
                continue
        writer.close()


async def _opened(reader: asyncio.StreamReader) -> None:
    """Wait for the client's three streams."""
    connection = Connection("server")
    while len(connection.streams) < 3 and (data := await reader.read(65536)):
        connection.receive_data(data)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/exec/token"
    finally:
        listener.close()


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
async def test_a_server_that_is_gone_at_any_byte(transport: Transport) -> None:
    server, ends = Server(transport), []
    wanted = Wanted(stdin=True, stdout=True, stderr=transport == "websocket", tty=False)
    async with serving(server) as url, asyncio.timeout(4 * LIMIT):

        async def ask() -> str:
            return url

        async def one() -> int | None:
            written = b""
            try:
                async with open_session(ask, wanted, transport) as session:
                    async for output in session:
                        written += output.data
                    code = await session.wait()
            except PodyardError:
                return None
            assert b"output\n" in written
            return code

        while not ends or server.size <= server.length:
            ends.append(await one())
            server.size += 1
    # Nothing is taken for a success, and the whole answer is understood.
    assert set(ends) == {None, 3}
