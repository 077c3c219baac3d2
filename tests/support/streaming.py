"""A small client of the streaming server: raw requests, SPDY and WebSocket without anything of podyard's client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.patience import PATIENCE
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from podyard.wire import spdy

LIMIT = 15.0 * PATIENCE
SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
KEY = base64.b64encode(b"0123456789abcdef").decode()
WEBSOCKET = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


@dataclass
class Answer:
    """A response's head, and the connection it came on."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def body(self) -> str:
        return (await self.reader.read()).decode()


@contextlib.asynccontextmanager
async def request(
    url: str, headers: Mapping[str, str], method: str = "GET", body: bytes = b"", **options: object
) -> AsyncIterator[Answer]:
    """Send a request and read the answer's head."""
    parts = urlsplit(url)
    assert parts.hostname
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, **options)  # type: ignore[arg-type]
    try:
        lines = [f"{method} {parts.path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        if "Host" not in headers:
            lines.append(f"Host: {parts.netloc}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(LIMIT):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        yield Answer(int(head[0].split()[1]), {key.lower(): value for key, value in fields.items()}, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def status(url: str, headers: Mapping[str, str] = SPDY, method: str = "GET", **more: object) -> int:
    """The status of a request's answer."""
    async with request(url, headers, method, **more) as answer:  # type: ignore[arg-type]
        return answer.status


@dataclass
class SpdyClient:
    """A SPDY session's events, as they come."""

    answer: Answer
    wire: spdy.Connection = field(default_factory=lambda: spdy.Connection("client"))
    data: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    reset: set[int] = field(default_factory=set)
    acknowledges: bool = True

    def be_like_go(self) -> None:
        """Know nothing of windows."""
        self.wire.data_to_send()
        self.acknowledges = False

    def open(self, **headers: str) -> int:
        stream = self.wire.open_stream(headers)
        self.data[stream] = b""
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        self.wire.send_data(stream, data, fin)
        self.flush()

    def flush(self) -> None:
        self.answer.writer.write(self.wire.data_to_send())

    async def step(self) -> bool:
        """Take what comes next; False at the end."""
        data = await self.answer.reader.read(65536)
        for event in self.wire.receive_data(data):
            if isinstance(event, spdy.DataReceived):
                self.data[event.stream_id] += event.data
                if self.acknowledges:
                    self.wire.acknowledge(event.stream_id, len(event.data))
                if event.fin:
                    self.ended.add(event.stream_id)
            elif isinstance(event, spdy.StreamReset):
                self.reset.add(event.stream_id)
        self.flush()
        return bool(data)

    async def until_ended(self, *streams: int) -> None:
        async with asyncio.timeout(LIMIT):
            while not set(streams) <= self.ended | self.reset:
                assert await self.step(), f"the session has ended: {self}"


@contextlib.asynccontextmanager
async def spdy_session(
    url: str, protocol: str = "v4.channel.k8s.io", method: str = "POST"
) -> AsyncIterator[SpdyClient]:
    """A SPDY session."""
    async with request(url, {**SPDY, "X-Stream-Protocol-Version": protocol}, method) as answer:
        assert answer.status == 101
        assert answer.headers["x-stream-protocol-version"] == protocol
        yield SpdyClient(answer)


class WebSocketClient:
    """A WebSocket's messages by channel."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.wire = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.messages: list[tuple[Opcode, bytes]] = []
        self.close_code: int | None = None

    def send(self, payload: bytes, *, fin: bool = True, text: bool = False) -> None:
        if self.wire.expect_continuation_frame:
            self.wire.send_continuation(payload, fin)
        elif text:
            self.wire.send_text(payload, fin)
        else:
            self.wire.send_binary(payload, fin)
        self.flush()

    def flush(self) -> None:
        self.answer.writer.write(b"".join(self.wire.data_to_send()))

    async def step(self) -> bool:
        data = await self.answer.reader.read(65536)
        if not data:
            return False
        self.wire.receive_data(data)
        for frame in self.wire.events_received():
            self.messages.append((frame.opcode, bytes(frame.data)))  # type: ignore[union-attr]
        if self.wire.close_rcvd is not None:
            self.close_code = self.wire.close_rcvd.code
        self.flush()
        return True

    async def until_closed(self) -> int | None:
        async with asyncio.timeout(LIMIT):
            while await self.step():
                continue
        return self.close_code

    def channel(self, number: int) -> bytes:
        """All data of a binary channel."""
        return b"".join(data[1:] for opcode, data in self.messages if opcode is Opcode.BINARY and data[0] == number)


@contextlib.asynccontextmanager
async def websocket(url: str, protocol: str = "v5.channel.k8s.io") -> AsyncIterator[WebSocketClient]:
    """A WebSocket session."""
    headers = {**WEBSOCKET, **({"Sec-WebSocket-Protocol": protocol} if protocol else {})}
    async with request(url, headers) as answer:
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol", "") == protocol
        yield WebSocketClient(answer)


class _Messages:
    """A WebSocket's binary messages as a stream of bytes, in both directions."""

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client

    async def read(self, _: int) -> bytes:
        while not self._client.messages:
            if not await self._client.step():
                return b""
        found = b"".join(data for opcode, data in self._client.messages if opcode is Opcode.BINARY)
        self._client.messages.clear()
        return found

    def write(self, data: bytes) -> None:
        if data:
            self._client.send(data)


@contextlib.asynccontextmanager
async def tunnelled_session(url: str, protocol: str = "portforward.k8s.io") -> AsyncIterator[SpdyClient]:
    """A SPDY session in a WebSocket's messages."""
    async with websocket(url, f"SPDY/3.1+{protocol}") as client:
        messages = _Messages(client)
        yield SpdyClient(Answer(101, {}, messages, messages))  # type: ignore[arg-type]
