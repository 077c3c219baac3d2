"""Conversations of streaming clients and servers, mutated: whatever comes, a parser must take it.

usage: .venv/bin/python -m tests.support.fuzz [--inputs 1000000] [--seed 1]     (in the repository; some minutes)

An exception, or output beyond the limits, ends it with the seed and the number of the input, which is made again from
both; so does memory that grows, and a thousand inputs that take longer than LIMIT seconds end it with a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import faulthandler
import random
import resource
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from tests.support.conversations import (
    answer_over_spdy,
    answer_over_websocket,
    exec_over_spdy,
    exec_over_websocket,
    forward_over_spdy,
    forward_over_websocket,
    messages,
)

from podyard.client.streams.target import Target as Address
from podyard.client.streams.websocket import WebSocketLink
from podyard.streaming.spdy import SpdySession
from podyard.streaming.websocket import Tunnel, Tunnelled, WebSocketSession
from podyard.wire import channels
from podyard.wire.remotecommand import PORT_FORWARD, V4, V5, WindowSize
from podyard.wire.spdy import Connection, DataReceived, Limits, StreamOpened

LIMIT = 300.0
"""Seconds for a thousand inputs, which take less than one on a machine with nothing else to do."""
LARGEST = 4096
"""Bytes of an input."""
LIMITS = Limits(streams=8, control_frame=4096, headers=4096, window=4096)
MEMORY = 64 << 20
"""Bytes that a run may take more at its end than after its first inputs."""

_NUMBERS = [
    bytes(4),
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\x01\x00\x00",
    b"\x00\xff\xff\xff",
]
"""Lengths, stream ids and counts that are somewhere at an edge."""

Pieces = Iterator[bytes]


@dataclass(frozen=True)
class Target:
    """A parser. ``seeds``: what its peer says when all is well. ``feed`` gives a new one an input, in pieces."""

    name: str
    seeds: tuple[bytes, ...]
    feed: Callable[[bytes, Pieces], None]


def mutated(source: random.Random, seed: bytes) -> bytes:
    """Something that was a conversation once."""
    data = bytearray(seed)
    for _ in range(source.choice((1, 1, 2, 3, 8))):
        at = source.randrange(len(data) + 1)
        match source.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << source.randrange(8)
            case 1 if at < len(data):
                data[at] = source.randrange(256)
            case 2:
                data[at : at + 4] = source.choice(_NUMBERS)
            case 3:
                del data[at : at + source.randrange(1, 16)]
            case 4:
                data[at:at] = source.randbytes(source.randrange(1, 16))
            case 5:
                begin = source.randrange(len(data) + 1)
                data[at:at] = data[begin : begin + source.randrange(1, 64)]
            case 6:
                del data[at:]
    return bytes(data[:LARGEST])


def cut(source: random.Random, data: bytes) -> Pieces:
    """The input in pieces, as a connection might bring it."""
    largest = source.choice((1, 7, 64, LARGEST))
    at = 0
    while at < len(data):
        size = source.randrange(1, largest + 1)
        yield data[at : at + size]
        at += size


def try_one(target: Target, seed: int, number: int) -> None:
    """Give a target one input: always the same for the same ``seed`` and ``number``."""
    source = random.Random(f"{target.name} {seed} {number}")
    data = mutated(source, source.choice(target.seeds))
    try:
        target.feed(data, cut(source, data))
    except Exception as error:
        raise AssertionError(f"{target.name}, seed {seed}, input {number}: {data.hex()}") from error


def _spdy(role: str) -> Callable[[bytes, Pieces], None]:
    def feed(data: bytes, pieces: Pieces) -> None:
        connection = Connection(role, LIMITS)  # type: ignore[arg-type]
        if role == "client":
            for kind in ("error", "stdin", "stdout"):
                connection.open_stream({"streamtype": kind})
        written = 0
        for piece in pieces:
            for event in connection.receive_data(piece):
                if isinstance(event, StreamOpened) and event.stream_id in connection.streams:
                    connection.reply(event.stream_id)
                if isinstance(event, DataReceived):
                    connection.acknowledge(event.stream_id, len(event.data))
            written += len(connection.data_to_send())
            assert len(connection.streams) <= LIMITS.streams
            assert connection._reader.buffered <= LIMITS.control_frame + 8
        assert written <= 500 + 24 * len(data)

    return feed


class _Carrier:
    """Takes what a server's session says."""

    def __init__(self) -> None:
        self.written = 0
        self.closed = False

    def write(self, data: bytes, *, activity: bool = True) -> None:
        self.written += len(data)

    async def drained(self) -> None:
        return

    def hold(self, key: Hashable) -> None:
        return

    def release(self, key: Hashable) -> None:
        return

    def close(self) -> None:
        self.closed = True


def _websocket_server(name: str) -> Callable[[bytes, Pieces], None]:
    def feed(data: bytes, pieces: Pieces) -> None:
        carrier = _Carrier()
        session = WebSocketSession(carrier, channels.REMOTE_COMMAND[name])
        opened = [session.open(0), session.open(1, to_client=True), session.open(4)]
        for piece in pieces:
            session.receive(piece)
        assert carrier.written <= 200 + 2 * len(data)
        assert sum(channel.buffered for channel in opened) <= len(data)

    return feed


def _spdy_session(data: bytes, pieces: Pieces) -> None:
    carrier = _Carrier()
    session = SpdySession(carrier, V4)
    for piece in pieces:
        session.receive(piece)
    assert carrier.written <= 1000 + 24 * len(data)


def _tunnel(data: bytes, pieces: Pieces) -> None:
    carrier = _Carrier()
    tunnel = Tunnel(carrier)
    receiver = Tunnelled(tunnel, SpdySession(tunnel, PORT_FORWARD))
    for piece in pieces:
        receiver.receive(piece)
    assert carrier.written <= 1000 + 24 * len(data)


class _Transport(asyncio.Transport):
    """Takes what a client says."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def close(self) -> None:
        return


def _websocket_client(data: bytes, pieces: Pieces) -> None:
    link = WebSocketLink(Address("127.0.0.1", 80, False, "/exec/x"), (V5, V4), 5)
    transport = _Transport()
    link.connection_made(transport)
    # The answer to this very request, before what is mutated.
    key = link._socket.key
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    link.data_received(
        f"{head}Sec-WebSocket-Accept: {channels.accept_key(key)}\r\nSec-WebSocket-Protocol: {V5}\r\n\r\n".encode()
    )
    assert link.ready.done()
    before = transport.written
    for piece in pieces:
        link.data_received(piece)
    link.eof_received()
    link.connection_lost(None)
    assert transport.written - before <= 200 + 2 * len(data)


def targets() -> list[Target]:
    """All parsers of what a peer sends over SPDY and WebSocket, at both ends."""
    size = WindowSize(80, 24).encode()
    remote, forward = exec_over_spdy(), forward_over_spdy()
    text = messages(
        *(b"%d%s" % (number, base64.b64encode(data)) for number, data in ((0, b"text"), (4, size))),
        mask=True,
        text=True,
    )
    return [
        Target("SPDY, server", (remote, forward), _spdy("server")),
        Target("SPDY, server's session", (remote, forward), _spdy_session),
        Target("SPDY, client", (answer_over_spdy(),), _spdy("client")),
        Target("WebSocket, server", (exec_over_websocket(), forward_over_websocket()), _websocket_server(V5)),
        Target("WebSocket in base64, server", (text,), _websocket_server(channels.BASE64)),
        Target("SPDY in WebSocket, server", (messages(forward[:40], forward[40:], mask=True),), _tunnel),
        Target("WebSocket, client", (answer_over_websocket(),), _websocket_client),
    ]


async def run(inputs: int, seed: int) -> None:
    """Try that many inputs, divided among the targets. Raises AssertionError, with the one that is not taken."""
    found = targets()
    for target in found:
        began, first = time.monotonic(), 0
        for number in range(-(-inputs // len(found))):
            if number % 1000 == 0:
                faulthandler.dump_traceback_later(LIMIT, exit=True)
                await asyncio.sleep(0)
                first = first or _memory()
            try_one(target, seed, number)
        faulthandler.cancel_dump_traceback_later()
        more = _memory() - first
        assert more < MEMORY, f"{target.name}: {more} bytes more in use than after the first inputs"
        taken = time.monotonic() - began
        sys.stdout.write(f"{target.name:30}{number + 1:10,} inputs {taken:8.1f} s {more / 1e6:8.1f} MB more\n")
        sys.stdout.flush()


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.inputs, options.seed))
    sys.stdout.write(f"{options.inputs:,} inputs, seed {options.seed}: all were taken\n")


if __name__ == "__main__":
    main()
