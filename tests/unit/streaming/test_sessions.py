"""Sessions of the streaming server, over SPDY and WebSocket, that end in all ways."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from tests.support.streaming import LIMIT, spdy_session, status, websocket
from tests.unit.streaming.serving import Waiting, command, serving

from podyard.errors import NotFound
from podyard.streaming import Streams
from podyard.wire.remotecommand import V1, V2, V3, V4, V5, Status


async def test_streams_that_are_not_opened_end_the_session() -> None:
    async with serving(open_timeout=0.2) as server, spdy_session(server.url("exec", command())) as client:
        client.open(streamtype="error")
        async with asyncio.timeout(LIMIT):
            while await client.step():
                continue


@pytest.mark.parametrize("protocol", [V1, V2, V3, V4, V5])
async def test_a_session_over_spdy(protocol: str) -> None:
    async with serving() as server, spdy_session(server.url("exec", command()), protocol) as client:
        error, stdin, stdout = (client.open(streamtype=kind) for kind in ("error", "stdin", "stdout"))
        odd = client.open(streamtype="video")
        content = bytes(range(256)) * 4000
        client.send(stdin, content, fin=True)
        await client.until_ended(error, stdout, odd)
        assert client.data[stdout] == content
        message = "command terminated with exit code 5"
        if protocol in {V4, V5}:
            assert Status.decode(client.data[error], protocol) == Status(5, message)
        else:
            assert client.data[error] == message.encode()
        assert client.reset == {odd}


async def test_a_stream_that_is_given_up_as_soon_as_it_is_opened() -> None:
    async with serving() as server, spdy_session(server.url("exec", command())) as client:
        client.wire.reset(client.wire.open_stream({"streamtype": "error"}))
        error, stdin, stdout = (client.open(streamtype=kind) for kind in ("error", "stdin", "stdout"))
        client.send(stdin, b"text", fin=True)
        await client.until_ended(error, stdout)
        assert client.data[stdout] == b"text"


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


@pytest.mark.parametrize("protocol", [V4, V1, ""])
async def test_a_session_over_a_websocket_without_the_close_signal(protocol: str) -> None:
    async def echo_once(streams: Streams) -> Status:
        assert streams.stdin is not None
        assert streams.stdout is not None
        await streams.stdout.write(await streams.stdin.read())
        return Status(5)

    async with serving() as server, websocket(server.url("exec", command(echo_once)), protocol) as client:
        client.send(b"\x00text")
        assert await client.until_closed() == 1000
        assert client.channel(1) == b"text"
        if protocol == V4:
            assert Status.decode(client.channel(3), V4).exit_code == 5
        else:
            assert client.channel(3) == b"command terminated with exit code 5"


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
