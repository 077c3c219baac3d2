"""Connections that are handed on to a runtime's streaming server."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from tests.support.patience import PATIENCE

from podyard.errors import PodyardError
from podyard.node.serving import relay
from podyard.node.serving.auth import Forbidden

LIMIT = 20 * PATIENCE
UPGRADE = "Connection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\n"
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def runtime(serve: Serve) -> AsyncIterator[str]:
    """A runtime's streaming server whose connections are all served so; the URL that it gives."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # so that little is on its way to it
    server = await asyncio.start_server(served, sock=listening)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/exec/secret"


@asynccontextmanager
async def node(url: str) -> AsyncIterator[int]:
    """A node whose every request is handed on to ``url``; its port."""
    async with served_node(url) as runner:
        yield port_of(runner)


def port_of(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])


@asynccontextmanager
async def served_node(url: str) -> AsyncIterator[web.AppRunner]:
    """Such a node, as aiohttp knows it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            relay.check_upgrade(request)
            return await relay.relay(request, url)
        except Forbidden as error:
            return web.Response(status=403, text=str(error))
        except PodyardError as error:
            return web.Response(status=503, text=str(error))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(
    port: int, head: str = f"POST /exec HTTP/1.1\r\nHost: node\r\n{UPGRADE}"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{head}\r\n".encode())
        async with asyncio.timeout(LIMIT):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def agree(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Answer a request for an upgrade; its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(AGREED)
    return head


async def test_the_request_goes_on_without_what_let_the_client_in() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await agree(reader, writer))

    head = f"POST /exec/a/b/c?command=id HTTP/1.1\r\nHost: node:1\r\n{UPGRADE}Authorization: Bearer t\r\n"
    head += "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n"
    head += "Cookie: a=b\r\nOrigin: https://node:1\r\nContent-Length: 0\r\n"
    async with runtime(serve) as url, node(url) as port, client(port, head) as (reader, _):
        assert await reader.read() == AGREED
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /exec/secret HTTP/1.1"
    assert lines[1] == f"Host: {url.split('/')[2]}"
    assert sorted(lines[2:]) == [
        "",
        "",
        "Connection: keep-alive, Upgrade",
        "Content-Length: 0",
        "Upgrade: SPDY/3.1",
        "X-Stream-Protocol-Version: v3.channel.k8s.io",
        "X-Stream-Protocol-Version: v4.channel.k8s.io",
    ]


async def test_bytes_go_through_both_ways_at_once_and_whole() -> None:
    content = bytes(range(256)) * (64 << 10)  # 16 MiB: more than all buffers on the way hold

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()

    async with runtime(serve) as url, node(url) as port, client(port) as (reader, writer):
        assert await reader.readexactly(len(AGREED)) == AGREED
        found = hashlib.sha256()

        async def feed() -> None:
            for start in range(0, len(content), 1 << 20):
                writer.write(content[start : start + (1 << 20)])
                await writer.drain()

        feeding = asyncio.create_task(feed())
        for _ in range(0, len(content), 1 << 16):
            found.update(await reader.readexactly(1 << 16))
        await feeding
        assert found.digest() == hashlib.sha256(content).digest()


async def test_a_client_that_reads_nothing_holds_the_runtime_up() -> None:
    held = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        for _ in range(64):
            writer.write(bytes(1 << 20))
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                held.set()
                return

    async with runtime(serve) as url, node(url) as port, client(port):
        await held.wait()


async def test_the_last_bytes_before_a_hang_up_arrive() -> None:
    got: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    size = 16 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        writer.write(bytes(size))
        count = 0
        while piece := await reader.read(16 << 10):  # slowly: what the client sent last waits for a while
            count += len(piece)
            await asyncio.sleep(0)
        got.set_result(count)

    async with runtime(serve) as url, node(url) as port:
        async with client(port) as (reader, writer):
            assert await reader.readexactly(len(AGREED)) == AGREED
            assert len(await reader.readexactly(size)) == size
            writer.write(bytes(size))
        assert await asyncio.wait_for(got, LIMIT) == size


async def test_nothing_is_kept_of_a_session_that_has_ended() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)

    async with runtime(serve) as url, served_node(url) as runner:
        for _count in range(3):
            async with client(port_of(runner)) as (reader, _):
                assert await reader.read() == AGREED
        assert runner.server is not None
        async with asyncio.timeout(LIMIT):
            while runner.server.connections:
                await asyncio.sleep(0.01)


async def test_a_session_ends_with_the_api() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree(reader, writer)
        with suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with runtime(serve) as url:
        async with node(url) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST / HTTP/1.1\r\nHost: node\r\n{UPGRADE}\r\n".encode())
            assert await asyncio.wait_for(reader.readexactly(len(AGREED)), LIMIT) == AGREED
        await asyncio.wait_for(ended.wait(), LIMIT)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), LIMIT) == b""
        writer.close()


async def test_a_refusal_is_handed_back_and_ends_it() -> None:
    heard = bytearray()
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        heard.extend(await reader.read())

    async with runtime(serve) as url, node(url) as port, client(port) as (reader, writer):
        assert await reader.readexactly(len(refusal)) == refusal
        writer.write(b"GET /exec/another HTTP/1.1\r\nHost: runtime\r\n\r\n")
        assert await reader.read() == b""
    assert heard == b""


async def test_a_runtime_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BEGIN", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with runtime(serve) as url, node(url) as port, client(port) as (reader, _):
        assert await reader.read() == b""


async def test_a_runtime_that_is_away_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/exec/secret"
        async with node(url) as port, client(port) as (reader, _):
            head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Host: node\r\n", 503),
        ("Host: node\r\nUpgrade: SPDY/3.1\r\n", 503),
        (f"Host: node\r\n{UPGRADE}Content-Length: 3\r\n", 503),
        (f"Host: node\r\n{UPGRADE}Origin: https://other\r\n", 403),
        (f"Host: node\r\n{UPGRADE}Origin: null\r\n", 403),
    ],
)
async def test_what_is_no_request_for_an_upgrade_reaches_no_runtime(head: str, status: int) -> None:
    reached = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(reader)

    async with runtime(serve) as url, node(url) as port, client(port, f"POST / HTTP/1.1\r\n{head}") as (reader, _):
        assert (await reader.readuntil(b"\r\n")).startswith(f"HTTP/1.1 {status} ".encode())
    assert not reached
