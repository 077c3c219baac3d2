"""What streaming clients and servers say after the upgrade, when all is well."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from podyard.wire.remotecommand import V4, V5, Status, WindowSize
from podyard.wire.spdy import Connection


def exec_over_spdy() -> bytes:
    """What a client of exec says."""
    client = Connection("client")
    client.open_stream({"streamtype": "error"})
    client.open_stream({"streamtype": "stdout"})
    return _input_over_spdy(client, client.open_stream({"streamtype": "stdin"}))


def forward_over_spdy() -> bytes:
    """What a client of port-forward says."""
    client, pair = Connection("client"), {"port": "80", "requestid": "1"}
    client.open_stream({**pair, "streamtype": "error"}, fin=True)
    return _input_over_spdy(client, client.open_stream({**pair, "streamtype": "data"}))


def _input_over_spdy(client: Connection, stream: int) -> bytes:
    client.ping()
    client.send_data(stream, b"GET / HTTP/1.0\r\n\r\n" * 3)
    client.send_data(stream, b"", fin=True)
    client.goaway()
    return client.data_to_send()


def exec_over_websocket() -> bytes:
    """What a client of exec says."""
    return messages(b"\x00text\n", b"\x04" + WindowSize(80, 24).encode(), b"\x00", b"\xff\x00", mask=True)


def forward_over_websocket() -> bytes:
    """What a client of port-forward says."""
    return messages(b"\x00GET / HTTP/1.0\r\n\r\n", b"\x00", mask=True)


def answer_over_spdy() -> bytes:
    """What a server of exec says."""
    client, server = Connection("client"), Connection("server")
    streams = [client.open_stream({"streamtype": kind}) for kind in ("error", "stdin", "stdout")]
    server.receive_data(client.data_to_send())
    for stream in streams:
        server.reply(stream)
    server.send_data(streams[2], b"output\n" * 5, fin=True)
    server.send_data(streams[0], Status(3).encode(V4))
    server.acknowledge(streams[1], 200_000)
    server.reset(streams[1])
    return server.data_to_send()


def answer_over_websocket() -> bytes:
    """What a server of exec says."""
    return messages(b"\x01", b"\x01output\n", b"\x02error\n", b"\x03" + Status(3).encode(V5), mask=False)


def messages(*payloads: bytes, mask: bool, text: bool = False) -> bytes:
    """Payloads in messages, then one in fragments with a ping between them, then a close. ``mask``: clients do it."""
    opcode = Opcode.TEXT if text else Opcode.BINARY
    frames = [Frame(opcode, payload).serialize(mask=mask) for payload in payloads]
    fragments = [Frame(opcode, payloads[0], fin=False), Frame(Opcode.PING, b"alive?"), Frame(Opcode.CONT, b"rest")]
    return b"".join(
        [
            *frames,
            *(frame.serialize(mask=mask) for frame in fragments),
            Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=mask),
        ]
    )
