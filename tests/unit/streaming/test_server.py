"""The streaming server over real sockets: requests, tokens, sessions that end in all ways."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.streaming import LIMIT, SPDY, WEBSOCKET, request, spdy_session, status, websocket

from podyard.errors import ConfigError, FailedPrecondition, NotFound, ResourceExhausted
from podyard.streaming import RemoteCommand, StreamingConfig, StreamingServer, Streams
from podyard.wire.remotecommand import Status


@contextlib.asynccontextmanager
async def serving(**settings: object) -> AsyncIterator[StreamingServer]:
    server = StreamingServer(msgspec.convert(settings, StreamingConfig, strict=False))
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


async def test_streams_that_are_not_opened_end_the_session() -> None:
    async with serving(open_timeout=0.2) as server, spdy_session(server.url("exec", command())) as client:
        client.open(streamtype="error")
        async with asyncio.timeout(LIMIT):
            while await client.step():
                continue


async def test_a_session_over_spdy() -> None:
    async with serving() as server, spdy_session(server.url("exec", command()), "v3.channel.k8s.io") as client:
        error, stdin, stdout = (client.open(streamtype=kind) for kind in ("error", "stdin", "stdout"))
        odd = client.open(streamtype="video")
        content = bytes(range(256)) * 4000
        client.send(stdin, content, fin=True)
        await client.until_ended(error, stdout, odd)
        assert client.data[stdout] == content
        assert client.data[error] == b"command terminated with exit code 5"
        assert client.reset == {odd}


async def test_a_session_over_a_websocket_with_fragments_and_pings() -> None:
    async with serving() as server, websocket(server.url("exec", command())) as client:
        client.send(b"\x00one ", fin=False)
        client.wire.send_ping(b"alive?")
        client.send(b"two ", fin=False)
        client.send(b"three", fin=True)
        client.send(b"\x09nobody is here")
        client.send(b"\x01not to the server")
        client.send(b"\xff\x00")
        assert await client.until_closed() == 1000
        assert client.channel(1) == b"one two three"
        assert Status.decode(client.channel(3), "v5.channel.k8s.io") == Status(5, "command terminated with exit code 5")
        assert b"alive?" in [data for _, data in client.messages]


async def test_base64_channels() -> None:
    async with serving() as server, websocket(server.url("exec", command()), "base64.channel.k8s.io") as client:
        client.send(b"0Zm9vCg==", text=True)
        async with asyncio.timeout(LIMIT):
            while len(client.messages) < 2:
                await client.step()
        assert [data for _, data in client.messages] == [b"1", b"1Zm9vCg=="]
        client.send(b"0no base64", text=True)
        assert await client.until_closed() == 1007


@pytest.mark.parametrize("payload", [b"\x00" + bytes(5 << 20), b""])
async def test_messages_that_cannot_be_end_the_session(payload: bytes) -> None:
    waiting = Waiting()
    async with serving() as server, websocket(server.url("exec", command(waiting))) as client:
        client.send(payload)
        with contextlib.suppress(ConnectionError):
            assert await client.until_closed() in {1007, 1009, None}
        async with asyncio.timeout(LIMIT):
            await waiting.cancelled.wait()


async def test_an_error_is_told_on_the_error_stream() -> None:
    async def fail(streams: Streams) -> Status:
        raise NotFound("there is no such thing")

    async with serving() as server, websocket(server.url("exec", command(fail))) as client:
        assert await client.until_closed() == 1000
        assert Status.decode(client.channel(3), "v5.channel.k8s.io") == Status(None, "there is no such thing")


async def test_a_client_that_goes_away_ends_what_it_began() -> None:
    waiting = Waiting()
    async with serving() as server:
        async with websocket(server.url("exec", command(waiting))):
            await waiting.began.wait()
        async with asyncio.timeout(LIMIT):
            await waiting.cancelled.wait()


async def test_broken_spdy_ends_the_session() -> None:
    waiting = Waiting()
    async with serving() as server, spdy_session(server.url("exec", command(waiting, stdin=False))) as client:
        client.open(streamtype="error")
        client.open(streamtype="stdout")
        await waiting.began.wait()
        client.answer.writer.write(b"\x80\x02\x00\x01\x00\x00\x00\x0a" + bytes(10))
        async with asyncio.timeout(LIMIT):
            with contextlib.suppress(ConnectionError):
                while await client.step():
                    continue
            await waiting.cancelled.wait()


async def test_an_idle_session_is_ended_and_a_busy_one_is_not() -> None:
    async with serving(idle_timeout=0.6) as server, websocket(server.url("exec", command())) as busy:
        waiting = Waiting()
        async with websocket(server.url("exec", command(waiting))) as idle:
            began = time.monotonic()
            ended = asyncio.create_task(idle.until_closed())
            while not ended.done():
                assert time.monotonic() - began < LIMIT
                busy.send(b"\x00x")
                await asyncio.sleep(0.1)
            assert waiting.cancelled.is_set()
            with contextlib.suppress(ConnectionError):
                await ended
        busy.send(b"\xff\x00")
        assert await busy.until_closed() == 1000


async def test_the_servers_end_is_every_sessions_end() -> None:
    waiting = Waiting()
    async with serving() as server, websocket(server.url("exec", command(waiting))):
        url = server.url("exec", command())
        await waiting.began.wait()
        await server.close()
        assert waiting.cancelled.is_set()
        with pytest.raises(ConnectionRefusedError):
            await status(url)


async def test_a_client_that_does_not_read_holds_the_command_back() -> None:
    written = 0

    async def flood(streams: Streams) -> Status:
        nonlocal written
        assert streams.stdout is not None
        while written < 200 << 20:
            await streams.stdout.write(bytes(65536))
            written += 65536
        return Status()

    async with serving() as server, spdy_session(server.url("exec", command(flood, stdin=False))) as client:
        client.be_like_go()
        error, stdout = client.open(streamtype="error"), client.open(streamtype="stdout")
        before = -1
        async with asyncio.timeout(LIMIT):
            while before != written or written == 0:
                before = written
                await asyncio.sleep(0.1)
        assert written < 50 << 20
        async with asyncio.timeout(60):
            while stdout not in client.ended:
                await client.step()
                client.data[stdout] = b""
        assert written == 200 << 20
        await client.until_ended(error)


async def test_a_client_far_beyond_its_windows_is_cut_off() -> None:
    waiting = Waiting()
    async with serving() as server, spdy_session(server.url("exec", command(waiting, stdout=False))) as client:
        client.open(streamtype="error")
        stdin = client.open(streamtype="stdin")
        for _ in range(1000):
            client.send(stdin, bytes(65536))
        async with asyncio.timeout(LIMIT):
            await waiting.cancelled.wait()


async def test_a_command_that_does_not_read_holds_the_client_back() -> None:
    go = asyncio.Event()
    total = 0

    async def sink(streams: Streams) -> Status:
        nonlocal total
        assert streams.stdin is not None
        await go.wait()
        while data := await streams.stdin.read():
            total += len(data)
        return Status()

    async with serving() as server, spdy_session(server.url("exec", command(sink, stdout=False))) as client:
        client.be_like_go()
        error, stdin = client.open(streamtype="error"), client.open(streamtype="stdin")
        for _ in range(1000):
            client.send(stdin, bytes(65536))
        client.send(stdin, b"", fin=True)
        await asyncio.sleep(0.3)
        assert client.answer.writer.transport.get_write_buffer_size() > 20 << 20
        go.set()
        await client.until_ended(error)
        assert total == 1000 * 65536


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


async def peer_name(url: str, context: ssl.SSLContext) -> str:
    async with request(url, SPDY, ssl=context) as answer:
        certificate = answer.writer.get_extra_info("ssl_object").getpeercert()
        assert answer.status in {101, 404}
    return str(dict(entry[0] for entry in certificate["subject"])["commonName"])


async def test_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "first")
    async with serving(tls_cert=cert, tls_key=key, tls_minimum="1.3") as server:
        url = server.url("exec", command())
        assert url.startswith("https://127.0.0.1:")
        assert await peer_name(url, ssl.create_default_context(cafile=str(cert))) == "first"
        make_certificate(tmp_path, "second")
        assert await peer_name(url, ssl.create_default_context(cafile=str(cert))) == "second"
        cert.write_text("half of a certif")
        trusted = ssl.create_default_context()
        trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
        async with request(url, SPDY, ssl=trusted) as answer:
            assert answer.status == 404
        old = ssl.create_default_context()
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await status(url, SPDY, ssl=old)


async def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "name")
    cert.write_text("nothing")
    with pytest.raises(ConfigError, match="tls_cert"):
        async with serving(tls_cert=cert, tls_key=key):
            raise AssertionError("it serves")


async def test_an_address_that_cannot_be_had_is_told() -> None:
    async with serving() as server:
        port = int(server.url("exec", command()).split("/")[2].rpartition(":")[2])
        with pytest.raises(FailedPrecondition, match=str(port)):
            async with serving(port=port):
                raise AssertionError("it serves")


@pytest.mark.parametrize(("address", "host"), [("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
async def test_urls_name_an_address_that_can_be_reached(address: str, host: str) -> None:
    async with serving(address=address) as server:
        url = server.url("exec", command())
        assert url.startswith(f"http://{host}:")
        assert await status(url) == 101


@pytest.mark.parametrize(
    "settings",
    [{"address": "localhost"}, {"tls_cert": "/a"}, {"tokens": 0}, {"port": 70000}, {"tls_minimum": "1.1"}, {"x": 1}],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, StreamingConfig, strict=False)
