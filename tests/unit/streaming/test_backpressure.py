"""Who does not read holds the other up, and no memory is filled meanwhile."""

from __future__ import annotations

import asyncio

from tests.support.streaming import LIMIT, spdy_session
from tests.unit.streaming.serving import Waiting, command, serving

from podyard.streaming import Streams
from podyard.wire.remotecommand import Status


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
