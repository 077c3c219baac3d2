"""Clients that go away: killed at any byte, or vanished without a word."""

from __future__ import annotations

import array
import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.conversations import exec_over_spdy, exec_over_websocket, forward_over_spdy, forward_over_websocket
from tests.support.patience import PATIENCE
from tests.support.streaming import LIMIT, SPDY, WEBSOCKET, SpdyClient, spdy_session
from tests.unit.streaming.serving import command, echoing, serving

from podyard.streaming import StreamingServer, Streams, link
from podyard.streaming import server as server_module
from podyard.wire.remotecommand import Status

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close is a reset, as when a process with unread data is killed (socket(7))."""
SO_ATTACH_FILTER = 26


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def head(url: str, upgrade: dict[str, str]) -> bytes:
    lines = [
        f"GET {urlsplit(url).path} HTTP/1.1",
        "Host: node",
        *(f"{name}: {value}" for name, value in upgrade.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


CONVERSATIONS = {
    "exec over SPDY": ("exec", {**SPDY, "X-Stream-Protocol-Version": "v4.channel.k8s.io"}, exec_over_spdy()),
    "exec over WebSocket": (
        "exec",
        {**WEBSOCKET, "Sec-WebSocket-Protocol": "v5.channel.k8s.io"},
        exec_over_websocket(),
    ),
    "port-forward over SPDY": (
        "portforward",
        {**SPDY, "X-Stream-Protocol-Version": "portforward.k8s.io"},
        forward_over_spdy(),
    ),
    "port-forward over WebSocket": (
        "portforward",
        {**WEBSOCKET, "Sec-WebSocket-Protocol": "v4.channel.k8s.io"},
        forward_over_websocket(),
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_client_that_is_killed_at_any_byte_leaves_nothing(name: str) -> None:
    kind, upgrade, said = CONVERSATIONS[name]
    async with echoing() as echo, serving(tokens=5000) as server:
        endpoint = echo.forward if kind == "portforward" else command(echo.run)

        async def kill_at(size: int, url: str) -> None:
            conversation = head(url, upgrade) + said
            parts = urlsplit(url)
            with socket.create_connection((parts.hostname, parts.port)) as client:
                client.sendall(conversation[:size])
                for _ in range(size % 7):
                    await asyncio.sleep(0)
                if size % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        begin = len(head(server.url(kind, endpoint), upgrade))
        before, tasks = descriptors(), asyncio.all_tasks()
        for size in range(begin + len(said) + 1):
            await kill_at(size, server.url(kind, endpoint))
        async with asyncio.timeout(LIMIT * PATIENCE):
            while server._connections or echo.running or asyncio.all_tasks() != tasks or descriptors() != before:
                await asyncio.sleep(0.02)
        assert echo.begun > 0
        # Those whose request was cut off still wait, and the one that nobody has used.
        assert len(server._tokens._waiting) == begin + 1


def deafen(connection: socket.socket) -> None:
    """Let the kernel drop all that comes for a socket, acknowledging nothing: as if its host had vanished."""
    drop = array.array("B", struct.pack("HBBI", 0x06, 0, 0, 0))  # bpf(4): return 0 bytes of the packet
    program = struct.pack("HxxxxxxP", 1, drop.buffer_info()[0])
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@asynccontextmanager
async def client_of(server: StreamingServer, run: object) -> AsyncIterator[SpdyClient]:
    async with spdy_session(server.url("exec", command(run, stdin=False))) as client:
        client.be_like_go()
        client.open(streamtype="error")
        client.open(streamtype="stdout")
        yield client


async def test_a_client_that_has_vanished_is_told_from_one_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENCE", 0.5)
    monkeypatch.setattr(
        link, "_KEEPALIVE", ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 1))
    )
    monkeypatch.setattr(server_module, "HEARTBEAT", 0.1)
    ended = {name: asyncio.Event() for name in ("vanished", "vanished in silence", "slow")}
    began = {name: asyncio.Event() for name in ended}

    def command_of(name: str, size: int) -> object:
        async def run(streams: Streams) -> Status:
            assert streams.stdout is not None
            began[name].set()
            try:
                for _ in range(size):
                    await streams.stdout.write(bytes(65536))
                if not size:
                    await asyncio.Event().wait()
                return Status()
            finally:
                ended[name].set()

        return run

    async with (
        serving() as server,
        client_of(server, command_of("vanished", 1000)) as vanished,
        client_of(server, command_of("vanished in silence", 0)) as silent,
        client_of(server, command_of("slow", 1000)) as slow,
        asyncio.timeout(4 * LIMIT * PATIENCE),
    ):
        for event in began.values():
            await event.wait()
        for client in (vanished, silent):
            deafen(client.answer.writer.get_extra_info("socket"))
        await ended["vanished"].wait()
        await ended["vanished in silence"].wait()
        assert not ended["slow"].is_set()
        read = 0
        while 3 not in slow.ended:
            assert await slow.step()
            read += len(slow.data[3])
            slow.data[3] = b""
        assert read == 1000 * 65536
