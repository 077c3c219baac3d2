"""A streaming server that does what a test says, on a real socket: SPDY by podyard's own protocol, server's role."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from podyard.wire import spdy

SUCCESS = b'{"metadata":{},"status":"Success"}'
V4 = "v4.channel.k8s.io"


@dataclass
class Request:
    """The head of a request, and the connection that it came on."""

    line: str
    headers: Mapping[str, list[str]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, head: str, body: bytes = b"") -> None:
        """Answer in plain HTTP and hang up; ``head``: status and headers."""
        self.writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()

    async def spdy(self, protocol: str = V4) -> SpdyPeer:
        """Switch to SPDY."""
        chosen = f"X-Stream-Protocol-Version: {protocol}\r\n" if protocol else ""
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{chosen}\r\n"
        self.writer.write(head.encode())
        return SpdyPeer(self.reader, self.writer)


@dataclass
class SpdyPeer:
    """Streams by their type, and what came on them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: spdy.Connection = field(default_factory=lambda: spdy.Connection("server"))
    ids: dict[str, int] = field(default_factory=dict)
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Take what comes until something holds."""
        while not holds():
            data = await self.reader.read(65536)
            assert data, "the client has hung up"
            for event in self.protocol.receive_data(data):
                self._take(event)
            await self.flush()

    async def opened(self, *kinds: str) -> None:
        """Wait for streams of these types."""
        await self.until(lambda: set(kinds) <= set(self.ids))

    async def send(self, kind: str, data: bytes, *, fin: bool = False) -> None:
        """Send on a stream."""
        self.protocol.send_data(self.ids[kind], data, fin=fin)
        await self.flush()

    async def reset(self, kind: str) -> None:
        """Reset a stream, as servers in Go do with all of them at the end."""
        self.protocol.reset(self.ids[kind])
        await self.flush()

    async def flush(self) -> None:
        """Send what is due."""
        self.writer.write(self.protocol.data_to_send())
        await self.writer.drain()

    def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.StreamOpened(stream_id, headers, fin):
                kind = headers["streamtype"]
                self.ids[kind], self.headers[kind], self.content[kind] = stream_id, headers, b""
                self.protocol.reply(stream_id)
                if fin:
                    self.ended.add(kind)
            case spdy.DataReceived(stream_id, data, fin):
                kind = next(kind for kind, known in self.ids.items() if known == stream_id)
                self.content[kind] += data
                if fin:
                    self.ended.add(kind)


Handler = Callable[[Request], Awaitable[None]]


@dataclass
class StreamingServer:
    """``failures``: what went wrong in handlers."""

    url: str
    requests: list[str]
    failures: list[BaseException]


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[StreamingServer]:
    """Serve every connection with a handler, which hangs up when it returns; its failures are raised at the end."""
    found = StreamingServer("", [], [])
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(reader, writer)
            found.requests.append(request.line)
            await handler(request)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client is done
        except BaseException as error:
            found.failures.append(error)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    found.url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/exec/token"
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
    for failure in found.failures:
        raise failure


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    headers: dict[str, list[str]] = {}
    for one in rest:
        name, _, value = one.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    return Request(line, headers, reader, writer)
