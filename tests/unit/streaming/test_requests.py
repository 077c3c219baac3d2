"""The streaming server's requests and URLs: what becomes a session, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.support.streaming import LIMIT, SPDY, WEBSOCKET, request, spdy_session, status
from tests.unit.streaming.serving import command, serving

from podyard.errors import ResourceExhausted


async def test_a_url_serves_once() -> None:
    async with serving() as server:
        url = server.url("exec", command())
        assert await status(url) == 101
        assert await status(url) == 404


async def test_a_request_that_becomes_no_session_leaves_the_url_as_it_was() -> None:
    async with serving() as server:
        url = server.url("exec", command())
        assert await status(url, {}) == 400
        assert await status(url, {**SPDY, "X-Stream-Protocol-Version": "v9.channel.k8s.io"}) == 403
        assert await status(url, method="POST") == 101


async def test_forged_foreign_and_old_urls_are_not_found() -> None:
    async with serving(token_lifetime=0.2) as server:
        url = server.url("exec", command())
        assert await status(url[:-1] + ("a" if url[-1] != "a" else "b")) == 404
        assert await status(url.replace("/exec/", "/attach/")) == 404
        assert await status(url.replace("/exec/", "/other/")) == 404
        assert await status(url.rpartition("/")[0] + "/") == 404
        async with asyncio.timeout(LIMIT):
            while await status(url, {}) != 404:
                await asyncio.sleep(0.05)
        assert await status(url) == 404


async def test_too_many_urls_are_refused_until_some_run_out() -> None:
    async with serving(tokens=2, token_lifetime=0.3) as server:
        server.url("exec", command())
        server.url("exec", command())
        with pytest.raises(ResourceExhausted, match="2 streaming URLs"):
            server.url("exec", command())
        async with asyncio.timeout(LIMIT):
            while True:
                with contextlib.suppress(ResourceExhausted):
                    server.url("exec", command())
                    break
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example", "Host": "127.0.0.1"}, 403),
        ({"Origin": "http://node:80", "Host": "node"}, 101),
        ({"Origin": "https://node", "Host": "node:443"}, 101),
    ],
)
async def test_only_pages_of_the_server_itself_may_ask(headers: dict[str, str], expected: int) -> None:
    async with serving() as server:
        for upgrade in (SPDY, WEBSOCKET):
            assert await status(server.url("exec", command()), {**upgrade, **headers}) == expected


@pytest.mark.parametrize(
    ("method", "headers", "body", "expected"),
    [
        ("PUT", SPDY, b"", 405),
        ("GET", {**SPDY, "Content-Length": "5"}, b"hello", 400),
        ("GET", {"Upgrade": "SPDY/3.1"}, b"", 400),
        ("POST", WEBSOCKET, b"", 400),
        ("GET", {**WEBSOCKET, "Sec-WebSocket-Version": "8"}, b"", 426),
        ("GET", {**WEBSOCKET, "Sec-WebSocket-Protocol": "chat"}, b"", 403),
        ("GET", {**SPDY, "X": "y" * 300_000}, b"", 431),
        ("G\x00T", SPDY, b"", 400),
    ],
)
async def test_requests_that_get_no_session(method: str, headers: dict[str, str], body: bytes, expected: int) -> None:
    async with serving() as server, request(server.url("exec", command()), headers, method, body) as answer:
        assert answer.status == expected
        assert await answer.body()


async def test_too_many_connections_are_told_to_come_later() -> None:
    async with serving(sessions=1) as server:
        async with spdy_session(server.url("exec", command())):
            assert await status(server.url("exec", command())) == 503
        async with asyncio.timeout(LIMIT):
            while await status(server.url("exec", command())) != 101:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("sent", [b"", b"GET /exec/x HTTP/1.1\r\nHost: a\r\n"])
async def test_a_request_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    async with serving(open_timeout=0.2) as server:
        host, _, port = server.url("exec", command()).split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(LIMIT):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
