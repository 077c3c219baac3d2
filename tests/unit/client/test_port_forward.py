"""Connections of a port-forward against a server that does what a test says."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.client.streaming_server import Request, serving

from podyard.client.streams import PortForward
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
        assert await request.reader.read() == b""  # until the client hangs up

    async with serving(handle) as server:

        async def ask(port: int) -> str:
            asked.append(port)
            return server.url

        async def one(port: int) -> bytes:
            async with await forward.connect(port) as connection:
                await connection.write(b"ping")
                await connection.end()
                found = await connection.read()
                # The error's channel is open still: nothing has gone wrong, and nothing is waited for.
                assert await connection.read() == b""
                return found

        forward = PortForward(ask, "spdy")
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(one(port) for port in range(1, 11))) == [
                f"{port} ping".encode() for port in range(1, 11)
            ]
        await forward.close()
        with pytest.raises(FailedPrecondition):
            await forward.connect(1)
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


@pytest.mark.parametrize("port", [0, -1, 65536])
async def test_what_is_no_port(port: int) -> None:
    async def ask(port: int) -> str:
        raise AssertionError("nobody is asked")

    with pytest.raises(InvalidArgument, match=str(port)):
        await PortForward(ask, "auto").connect(port)
