"""Sessions of exec and attach against a server that does what it should, or something else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.client.streaming_server import SUCCESS, V4, Request, StreamingServer, serving
from websockets.server import ServerProtocol

from podyard.client.streams import Session, Transport, Wanted, dial, open_session
from podyard.client.streams.link import HOLD
from podyard.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

EXIT_3 = (
    b'{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",'
    b'"details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'
)


def session(
    server: StreamingServer, transport: Transport = "spdy", *, stdin: bool = False, tty: bool = False
) -> AbstractAsyncContextManager[Session]:
    async def ask() -> str:
        return server.url

    return open_session(ask, Wanted(stdin=stdin, stdout=True, stderr=not tty, tty=tty), transport)


def ending(status: bytes, protocol: str = V4) -> Callable[[Request], Awaitable[None]]:
    """A server whose command writes something and ends, with resets in place of ends, as servers in Go do it."""

    async def handle(request: Request) -> None:
        peer = await request.spdy(protocol)
        await peer.opened("error", "stdout", "stderr")
        await peer.send("stdout", b"out")
        await peer.send("stderr", b"err")
        await peer.send("error", status)
        for kind in ("stdout", "stderr", "error"):
            await peer.reset(kind)

    return handle


async def outcome(found: Session) -> tuple[bytes, bytes, int]:
    written = {"stdout": bytearray(), "stderr": bytearray()}
    async with asyncio.timeout(20):
        async for output in found:
            written[output.stream] += output.data
        return bytes(written["stdout"]), bytes(written["stderr"]), await found.wait()


@pytest.mark.parametrize(("status", "code"), [(SUCCESS, 0), (EXIT_3, 3)])
async def test_output_and_exit_code(status: bytes, code: int) -> None:
    async with serving(ending(status)) as server, session(server) as found:
        assert await outcome(found) == (b"out", b"err", code)
        assert await found.wait() == code
        assert found.protocol == V4


async def test_the_request_offers_the_protocols_and_the_streams_say_what_they_are() -> None:
    seen: list[Request] = []

    async def handle(request: Request) -> None:
        seen.append(request)
        peer = await request.spdy()
        await peer.opened("error", "stdin", "stdout", "resize")
        assert set(peer.ids) == {"error", "stdin", "stdout", "resize"}
        await peer.send("stdout", b"", fin=True)
        await peer.send("error", SUCCESS, fin=True)
        await peer.until(lambda: b"\n" in peer.content["resize"] and "stdin" in peer.ended)
        assert peer.content["resize"] == b'{"Width": 80, "Height": 24}\n'
        assert peer.content["stdin"] == b"typed"

    async with serving(handle) as server, session(server, stdin=True, tty=True) as found:
        await found.resize(80, 24)
        await found.stdin.write(b"typed")
        await found.stdin.close()
        assert await outcome(found) == (b"", b"", 0)
        with pytest.raises(FailedPrecondition, match="closed"):
            await found.stdin.write(b"more")
    (request,) = seen
    assert request.line == "POST /exec/token HTTP/1.1"
    assert request.headers["x-stream-protocol-version"] == [
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ]


@pytest.mark.parametrize("protocol", ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""])
async def test_before_v4_a_text_is_an_error_and_nothing_is_success(protocol: str) -> None:
    async with serving(ending(b"", protocol)) as server, session(server) as found:
        assert await outcome(found) == (b"out", b"err", 0)
    async with serving(ending(b"it broke", protocol)) as server, session(server) as found:
        with pytest.raises(Internal, match="it broke"):
            await outcome(found)


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (b"", Unavailable, "without a status"),
        (b"nonsense", DataLoss, "no Status"),
        (b"[]", DataLoss, "no Status"),
        (b'{"status":"Failure","reason":"InternalError","message":"no such file"}', Internal, "no such file"),
        (b" " * 70000, DataLoss, "more than"),
    ],
)
async def test_an_end_that_is_no_success_is_an_error(status: bytes, error: type[PodyardError], text: str) -> None:
    async with serving(ending(status)) as server, session(server) as found:
        with pytest.raises(error, match=text):
            await outcome(found)


async def test_a_connection_that_breaks_is_unavailable_for_reading_writing_and_waiting() -> None:
    async def handle(request: Request) -> None:
        peer = await request.spdy()
        await peer.opened("error", "stdout", "stdin")
        await peer.send("stdout", b"part")

    async with serving(handle) as server, session(server, stdin=True) as found:
        assert await found.stdout.read() == b"part"
        with pytest.raises(Unavailable):
            await found.stdout.read()
        with pytest.raises(Unavailable, match="without a status"):
            await found.wait()
        with pytest.raises((Unavailable, FailedPrecondition)):
            await found.stdin.write(b"x")
        await found.resize(1, 1)


async def test_a_broken_protocol_is_data_loss() -> None:
    async def handle(request: Request) -> None:
        peer = await request.spdy()
        await peer.opened("error")
        request.writer.write(b"\x80\x03\x00\x02\x00\x00\x00\x08" + b"\xff" * 8)  # a SYN_REPLY with no header block
        await asyncio.sleep(20)

    async with serving(handle) as server, session(server) as found:
        with pytest.raises(DataLoss, match="SPDY"):
            await found.stdout.read()


async def test_what_nobody_reads_holds_the_server_up_and_nothing_is_lost() -> None:
    total = 40 * HOLD
    sent = 0

    async def handle(request: Request) -> None:
        nonlocal sent
        peer = await request.spdy()
        await peer.opened("error", "stdout", "stderr")
        while sent < total:
            await peer.send("stdout", bytes(65536))
            sent += 65536
        for kind, content in (("stdout", b""), ("stderr", b""), ("error", SUCCESS)):
            await peer.send(kind, content, fin=True)

    async with serving(handle) as server, session(server) as found:
        async with asyncio.timeout(20):
            before = -1
            while before != sent:  # until it is held up
                before = sent
                await asyncio.sleep(0.2)
        assert sent < total
        out, _, code = await outcome(found)
    assert (len(out), code) == (total, 0)


@pytest.mark.parametrize(
    ("head", "error", "text"),
    [
        ("404 Not Found", NotFound, "token"),
        ("429 Too Many", ResourceExhausted, "too many"),
        ("401 Unauthorized", PermissionDenied, "401"),
        ("503 Busy", Unavailable, "the reason"),
        ("200 OK", Internal, "200"),
        ("101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade", Internal, "h2c"),
        ("302 Found\r\nLocation: /exec/token", Internal, "circle"),
        ("307 Moved\r\nLocation: ftp://there", Internal, "ftp"),
    ],
)
async def test_what_a_server_answers_instead(head: str, error: type[PodyardError], text: str) -> None:
    async with serving(lambda request: request.answer(head, b"the  reason\n")) as server:
        with pytest.raises(error, match=text):
            async with session(server):
                raise AssertionError("it began")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-dropbear\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000])
async def test_what_is_no_http(answer: bytes) -> None:
    async def handle(request: Request) -> None:
        request.writer.write(answer)
        await request.writer.drain()

    async with serving(handle) as server:
        for transport in ("spdy", "websocket"):
            with pytest.raises(Internal, match="refused the session"):
                async with session(server, transport):
                    raise AssertionError("it began")


async def test_a_redirection_is_followed() -> None:
    async with serving(ending(SUCCESS)) as final:

        async def redirect(request: Request) -> None:
            await request.answer(f"302 Found\r\nLocation: {final.url}?x=1")

        async with serving(redirect) as first, session(first) as found:
            assert await outcome(found) == (b"out", b"err", 0)
        assert final.requests == ["POST /exec/token?x=1 HTTP/1.1"]


@pytest.mark.parametrize("silent", ["answer", "streams"])
async def test_a_mute_server_is_not_waited_for_without_end(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podyard.client.streams.dial.PATIENCE", 0.3)
    monkeypatch.setattr("podyard.client.streams.session.OPENING", 0.3)

    async def handle(request: Request) -> None:
        if silent == "streams":
            await request.spdy()
        await asyncio.sleep(30)

    async with serving(handle) as server:
        with pytest.raises(DeadlineExceeded):
            async with session(server):
                raise AssertionError("it began")


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    server = StreamingServer(f"http://127.0.0.1:{unused_tcp_port}/exec/x", [], [])
    with pytest.raises(Unavailable, match=f"127.0.0.1:{unused_tcp_port}"):
        async with session(server):
            raise AssertionError("it began")


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


async def test_a_certificate_of_the_runtimes_own_is_taken(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "some runtime")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    async with serving(ending(SUCCESS), context) as server, session(server) as found:
        assert server.url.startswith("https://")
        assert await outcome(found) == (b"out", b"err", 0)


def websocket(
    protocols: list[str], script: Callable[[ServerProtocol, Request], Awaitable[None]]
) -> Callable[[Request], Awaitable[None]]:
    """A server that refuses SPDY and speaks WebSocket."""

    async def handle(request: Request) -> None:
        if request.headers["upgrade"] != ["websocket"]:
            await request.answer("400 Bad Request", b"unable to upgrade")
            return
        protocol = ServerProtocol(subprotocols=protocols)  # type: ignore[arg-type]
        head = "\r\n".join(f"{name}: {value}" for name, values in request.headers.items() for value in values)
        protocol.receive_data(f"{request.line}\r\n{head}\r\n\r\n".encode())
        (opening,) = protocol.events_received()
        protocol.send_response(protocol.accept(opening))  # type: ignore[arg-type]
        await script(protocol, request)
        request.writer.write(b"".join(protocol.data_to_send()))
        await request.writer.drain()
        with contextlib.suppress(ConnectionError):
            while await request.reader.read(1000):
                continue

    return handle


async def test_websocket_is_spoken_where_spdy_is_refused() -> None:
    async def script(protocol: ServerProtocol, request: Request) -> None:
        protocol.send_binary(b"\x01")
        protocol.send_binary(b"\x01ou", fin=False)
        protocol.send_continuation(b"t", fin=True)
        protocol.send_binary(b"\x02err")
        protocol.send_binary(b"\x07what nobody asked for")
        protocol.send_binary(b"\x03" + EXIT_3)
        protocol.send_close(1000)

    protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
    async with serving(websocket(protocols, script)) as server, session(server, "auto") as found:
        assert found.protocol == "v5.channel.k8s.io"
        assert await outcome(found) == (b"out", b"err", 3)
        assert [line.split()[0] for line in server.requests] == ["POST", "GET"]
    async with serving(websocket(protocols, script)) as server:
        with pytest.raises(InvalidArgument, match="unable to upgrade"):
            async with session(server, "spdy"):
                raise AssertionError("it began")


async def test_v5_tells_ends_both_ways_and_v4_says_that_it_cannot() -> None:
    received = b""

    async def script(protocol: ServerProtocol, request: Request) -> None:
        nonlocal received
        protocol.send_binary(b"\xff\x01")
        protocol.send_binary(b"\xff\x02")
        request.writer.write(b"".join(protocol.data_to_send()))
        while protocol.subprotocol == "v5.channel.k8s.io" and b"\xff\x00" not in received:
            protocol.receive_data(await request.reader.read(1000))
            received += b"".join(bytes(frame.data) for frame in protocol.events_received())  # type: ignore[union-attr]
        protocol.send_binary(b"\x03" + SUCCESS)
        protocol.send_close(1000)

    async def nothing(protocol: ServerProtocol, request: Request) -> None:
        pass

    async with (
        serving(websocket(["v5.channel.k8s.io"], script)) as server,
        session(server, "websocket", stdin=True) as found,
    ):
        await found.stdin.write(b"in")
        await found.stdin.close()
        assert await outcome(found) == (b"", b"", 0)
    assert received == b"\x00in\xff\x00"
    async with (
        serving(websocket(["v4.channel.k8s.io"], nothing)) as server,
        session(server, "websocket", stdin=True) as found,
    ):
        with pytest.raises(Unimplemented, match="spdy"):
            await found.stdin.close()


@pytest.mark.parametrize("code", [1011, 1000])
async def test_a_websocket_that_ends_without_a_status(code: int) -> None:
    async def script(protocol: ServerProtocol, request: Request) -> None:
        protocol.send_close(code, "reason")

    async with serving(websocket(["v4.channel.k8s.io"], script)) as server, session(server, "websocket") as found:
        with pytest.raises(Unavailable, match=r"reason|without a status"):
            await outcome(found)


async def test_a_broken_websocket_is_data_loss() -> None:
    async def script(protocol: ServerProtocol, request: Request) -> None:
        request.writer.write(b"".join(protocol.data_to_send()) + b"\xff\xff\xff\xff")

    async with serving(websocket(["v4.channel.k8s.io"], script)) as server, session(server, "websocket") as found:
        with pytest.raises(DataLoss, match="WebSocket"):
            await outcome(found)


async def test_a_transport_that_is_not_known() -> None:
    with pytest.raises(InvalidArgument, match="quic"):
        await dial.agree("quic", None, None)  # type: ignore[arg-type]
