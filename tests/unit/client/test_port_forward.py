"""Connections of a port-forward against a server that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.client.streaming_server import Request, SpdyPeer, serving

from podyard.client.streams import PortForward, forward
from podyard.errors import FailedPrecondition, InvalidArgument, Unavailable


async def test_each_connection_has_its_url_and_names_its_port_on_both_streams() -> None:
    asked: list[int] = []

    async def handle(request: Request) -> None:
        assert request.headers["x-stream-protocol-version"] == ["portforward.k8s.io"]
        peer = await request.spdy("portforward.k8s.io")
        await peer.opened("error", "data")
        assert peer.headers["error"]["port"] == peer.headers["data"]["port"]
        assert peer.headers["error"]["requestid"] == peer.headers["data"]["requestid"]
        assert "error" in peer.ended
        await peer.until(lambda: "data" in peer.ended)
        await peer.send("data", peer.headers["data"]["port"].encode() + b" " + peer.content["data"], fin=True)
        await peer.send("error", b"", fin=True)
        assert await request.reader.read() == b""  # until the client hangs up

    async with serving(handle) as server:

        async def ask(port: int) -> str:
            asked.append(port)
            return server.url

        async def one(port: int) -> bytes:
            async with await several.connect(port) as connection:
                await connection.write(b"ping")
                await connection.end()
                found = await connection.read()
                assert await connection.read() == b""
                return found

        several = PortForward(ask, "spdy")
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(one(port) for port in range(1, 11))) == [
                f"{port} ping".encode() for port in range(1, 11)
            ]
        await several.close()
        with pytest.raises(FailedPrecondition):
            await several.connect(1)
    assert sorted(asked) == list(range(1, 11))


async def test_an_error_is_told_at_the_end_of_the_data() -> None:
    async def handle(request: Request) -> None:
        peer = await request.spdy("portforward.k8s.io")
        await peer.opened("error", "data")
        await peer.send("data", b"some")
        await peer.send("error", b"connection ")
        await peer.send("data", b"", fin=True)
        await peer.send("error", b"refused", fin=True)

    async with serving(handle) as server:

        async def ask(port: int) -> str:
            return server.url

        async with await PortForward(ask, "spdy").connect(80) as connection:
            assert await connection.read() == b"some"
            with pytest.raises(Unavailable, match="port 80: connection refused"):
                await connection.read()


async def one_end(after: Callable[[Request, SpdyPeer], Awaitable[None]]) -> bytes:
    """What a reader gets when the server ends the data and then does ``after``."""

    async def handle(request: Request) -> None:
        peer = await request.spdy("portforward.k8s.io")
        await peer.opened("error", "data")
        await peer.send("data", b"", fin=True)
        await after(request, peer)

    async with serving(handle) as server:

        async def ask(port: int) -> str:
            return server.url

        async with await PortForward(ask, "spdy").connect(80) as connection:
            return await connection.read()


async def test_an_error_that_comes_after_the_end_of_the_data_is_told() -> None:
    async def late(request: Request, peer: SpdyPeer) -> None:
        await asyncio.sleep(0.2)  # containerd's order: its reader has seen the end of the data by now
        await peer.send("error", b"connection refused", fin=True)

    with pytest.raises(Unavailable, match="port 80: connection refused"):
        await one_end(late)


async def test_a_server_that_hangs_up_after_the_data_has_told_no_error() -> None:
    async def hang_up(request: Request, peer: SpdyPeer) -> None:
        return None

    assert await one_end(hang_up) == b""


async def test_an_error_channel_that_stays_open_is_not_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "ERROR_PATIENCE", 0.1)

    async def stay(request: Request, peer: SpdyPeer) -> None:
        assert await request.reader.read() == b""  # until the client hangs up

    async with asyncio.timeout(20):
        assert await one_end(stay) == b""


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_what_is_no_port(port: int) -> None:
    async def ask(port: int) -> str:
        raise AssertionError("nobody is asked")

    with pytest.raises(InvalidArgument, match=str(port)):
        await PortForward(ask, "auto").connect(port)
