"""Port-forward: many connections in one session, each with an error stream of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest
from tests.support.streaming import LIMIT, SpdyClient, spdy_session, tunnelled_session, websocket
from tests.unit.streaming.serving import echoing, serving

from podyard.wire.channels import port_prefix

SESSIONS = {"SPDY": spdy_session, "SPDY in WebSocket": tunnelled_session}
CONNECTIONS = 100

Open = Callable[[str, str], AbstractAsyncContextManager[SpdyClient]]


@pytest.fixture(params=SESSIONS)
def opened(request: pytest.FixtureRequest) -> Open:
    return SESSIONS[request.param]


def pair(client: SpdyClient, number: int, port: int = 80) -> tuple[int, int]:
    """The error and the data stream of a connection."""
    headers = {"port": str(port), "requestid": str(number)}
    return client.open(**headers, streamtype="error"), client.open(**headers, streamtype="data")


async def test_a_hundred_connections_at_once_in_one_session(opened: Open) -> None:
    async with (
        echoing() as echo,
        serving() as server,
        opened(server.url("portforward", echo.forward), "portforward.k8s.io") as client,
    ):
        pairs = [pair(client, number) for number in range(CONNECTIONS)]
        async with asyncio.timeout(LIMIT):
            while echo.running < CONNECTIONS:
                await asyncio.sleep(0.01)
        for number, (_, data) in enumerate(pairs):
            client.send(data, f"text {number} ".encode() * 1000)
        refused, nothing = pair(client, CONNECTIONS, 81)
        await client.until_ended(refused, nothing)
        assert client.data[refused] == b"nobody listens at port 81"
        for _, data in pairs:
            client.send(data, b"", fin=True)
        await client.until_ended(*(stream for both in pairs for stream in both))
        for number, (error, data) in enumerate(pairs):
            assert client.data[data] == f"text {number} ".encode() * 1000
            assert client.data[error] == b""
        assert echo.running == 0


async def test_streams_that_belong_to_no_connection_are_refused(opened: Open) -> None:
    async with (
        echoing() as echo,
        serving(open_timeout=0.3) as server,
        opened(server.url("portforward", echo.forward), "portforward.k8s.io") as client,
    ):
        odd = client.open(port="80", requestid="1", streamtype="video")
        no_port = client.open(port="eighty", requestid="2", streamtype="data")
        alone = client.open(port="80", requestid="3", streamtype="data")
        twice = client.open(port="80", requestid="3", streamtype="data")
        await client.until_ended(odd, no_port, alone, twice)
        assert client.reset == {odd, no_port, alone, twice}
        assert echo.begun == 0


async def test_old_clients_that_number_nothing() -> None:
    async with (
        echoing() as echo,
        serving() as server,
        spdy_session(server.url("portforward", echo.forward), "portforward.k8s.io") as client,
    ):
        streams = [client.open(port="80", streamtype=kind) for _ in range(3) for kind in ("error", "data")]
        for data in streams[1::2]:
            client.send(data, b"%d" % data, fin=True)
        await client.until_ended(*streams)
        assert [client.data[data] for data in streams[1::2]] == [b"%d" % data for data in streams[1::2]]


async def test_the_pods_end_is_the_sessions_end(opened: Open) -> None:
    async with (
        echoing() as echo,
        serving() as server,
        opened(server.url("portforward", echo.forward), "portforward.k8s.io") as client,
    ):
        pair(client, 1)
        async with asyncio.timeout(LIMIT):
            while not echo.running:
                await asyncio.sleep(0.01)
            echo.ended.set()
            with suppress(ConnectionError):
                while await client.step():
                    continue
            while echo.running:
                await asyncio.sleep(0.01)


async def test_a_connection_over_a_websocket() -> None:
    async with (
        echoing() as echo,
        serving() as server,
        websocket(server.url("portforward", echo.forward), "v4.channel.k8s.io") as client,
    ):
        client.send(b"\x00text")
        client.send(b"\x01nobody reads errors here")
        async with asyncio.timeout(LIMIT):
            while client.channel(0) != port_prefix(80) + b"text":
                await client.step()
        assert client.channel(1) == port_prefix(80)
