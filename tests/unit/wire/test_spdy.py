"""SPDY/3.1 on bytes: both roles against each other, and frames as a Go peer sends them."""

from __future__ import annotations

import struct
import zlib

import pytest

from podyard.wire.spdy import (
    Connection,
    DataReceived,
    Event,
    GoneAway,
    HeadersReceived,
    Limits,
    PingReplied,
    ProtocolFailed,
    ResetStatus,
    StreamOpened,
    StreamReplied,
    StreamReset,
    StreamWritable,
)
from podyard.wire.spdy.frames import (
    FLAG_UNIDIRECTIONAL,
    FrameType,
    control,
    data_header,
    settings,
    syn_stream,
    with_headers,
)
from podyard.wire.spdy.headers import DICTIONARY, Compressor


def pair(limits: Limits | None = None) -> tuple[Connection, Connection]:
    """A client and a server that have exchanged what they announce."""
    client, server = Connection("client"), Connection("server", limits)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    return client, server


def passed(source: Connection, target: Connection) -> list[Event]:
    return target.receive_data(source.data_to_send())


def received(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


class GoPeer:
    """A client's frames as the Go implementation makes them: no SETTINGS, no windows."""

    def __init__(self) -> None:
        self.compressor = Compressor()
        self.next_id = 1

    def open(self, headers: dict[str, str], flags: int = 0) -> bytes:
        frame = syn_stream(self.next_id, self.compressor.compress(headers), flags)
        self.next_id += 2
        return frame


def test_a_stream_from_its_opening_to_its_end() -> None:
    client, server = pair()
    stream = client.open_stream({"StreamType": "stdin", "port": "80"})
    assert passed(client, server) == [StreamOpened(1, {"streamtype": "stdin", "port": "80"}, False)]
    server.reply(stream, {"status": "200 OK"})
    server.send_data(stream, b"answer", fin=True)
    assert passed(server, client) == [
        StreamReplied(1, {"status": "200 OK"}, False),
        DataReceived(1, b"answer", True),
    ]
    client.send_data(stream, b"", fin=True)
    assert passed(client, server) == [DataReceived(1, b"", True)]
    assert client.streams == server.streams == frozenset()


def test_ids_are_odd_for_clients_and_even_for_servers() -> None:
    client, server = pair()
    assert [client.open_stream({}) for _ in range(3)] == [1, 3, 5]
    assert [server.open_stream({}) for _ in range(2)] == [2, 4]
    assert len(passed(server, client)) == 2


def test_frames_may_be_cut_anywhere() -> None:
    client, server = pair()
    stream = client.open_stream({"streamtype": "stdin"})
    client.send_data(stream, b"some data", fin=True)
    content = client.data_to_send()
    events = [
        event for position in range(len(content)) for event in server.receive_data(content[position : position + 1])
    ]
    assert events[0] == StreamOpened(1, {"streamtype": "stdin"}, False)
    assert received(events) == b"some data"
    assert isinstance(events[-1], DataReceived)
    assert [event.fin for event in events if isinstance(event, DataReceived)] == [False] * 8 + [True]


def test_large_frames_are_passed_on_in_pieces() -> None:
    _, server = pair()
    peer = GoPeer()
    server.receive_data(peer.open({}))
    assert server.receive_data(data_header(1, 0, 1 << 24 - 1) + b"x" * 1000) == [DataReceived(1, b"x" * 1000, False)]
    assert server.receive_data(b"y" * 5) == [DataReceived(1, b"yyyyy", False)]


def test_headers_share_one_compression_over_all_streams() -> None:
    client, server = pair()
    sizes = []
    for number in range(3):
        client.open_stream({"streamtype": "error", "port": "8080", "requestid": str(number)})
        frame = client.data_to_send()
        sizes.append(len(frame))
        (event,) = server.receive_data(frame)
        assert isinstance(event, StreamOpened)
        assert event.headers["requestid"] == str(number)
    assert sizes[2] < sizes[0]


def test_headers_of_a_refused_stream_are_decompressed_all_the_same() -> None:
    client, server = pair(Limits(streams=1))
    for number in range(3):
        client.open_stream({"number": str(number)})
    assert passed(client, server) == [StreamOpened(1, {"number": "0"}, False)]
    assert passed(server, client) == [
        StreamReset(3, ResetStatus.REFUSED_STREAM),
        StreamReset(5, ResetStatus.REFUSED_STREAM),
    ]
    server.reset(1)
    client.open_stream({"number": "3"})
    assert passed(client, server) == [StreamOpened(7, {"number": "3"}, False)]


def test_resets_end_both_directions() -> None:
    client, server = pair()
    stream = client.open_stream({})
    passed(client, server)
    server.reset(stream, ResetStatus.INTERNAL_ERROR)
    server.reset(stream)
    assert passed(server, client) == [StreamReset(1, ResetStatus.INTERNAL_ERROR)]
    with pytest.raises(KeyError):
        client.send_data(stream, b"x")


def test_data_after_the_end_is_refused_on_both_ends() -> None:
    client, server = pair()
    stream = client.open_stream({})
    passed(client, server)
    client.send_data(stream, b"", fin=True)
    with pytest.raises(ValueError, match="ended"):
        client.send_data(stream, b"x")
    passed(client, server)
    assert server.receive_data(data_header(1, 0, 1) + b"x") == [StreamReset(1, ResetStatus.STREAM_ALREADY_CLOSED)]


def test_data_for_streams_that_never_were_is_answered_and_dropped() -> None:
    _, server = pair()
    assert server.receive_data(data_header(9, 0, 3) + b"abc" + data_header(9, 0, 0)) == []
    assert server.data_to_send() == control(FrameType.RST_STREAM, 0, struct.pack(">II", 9, 2)) * 2


def test_pings_are_answered_and_answers_reported() -> None:
    client, server = pair()
    assert client.ping() == 1
    assert passed(client, server) == []
    assert passed(server, client) == [PingReplied(1)]
    assert (server.ping(), server.ping()) == (2, 4)
    assert passed(server, client) == []
    assert passed(client, server) == [PingReplied(2), PingReplied(4)]


def test_after_goaway_no_stream_is_taken() -> None:
    client, server = pair()
    client.open_stream({})
    passed(client, server)
    server.goaway()
    assert passed(server, client) == [GoneAway(1, 0)]
    client.open_stream({})
    assert passed(client, server) == []


def test_headers_frames_come_with_their_stream() -> None:
    _, server = pair()
    peer = GoPeer()
    server.receive_data(peer.open({}))
    frame = with_headers(FrameType.HEADERS, 1, peer.compressor.compress({"more": "x"}), 1)
    assert server.receive_data(frame) == [HeadersReceived(1, {"more": "x"}, True)]


def test_a_go_peer_gets_everything_without_windows() -> None:
    server = Connection("server")
    server.receive_data(GoPeer().open({}))
    server.reply(1)
    server.data_to_send()
    assert all(server.send_data(1, b"x" * 65536) for _ in range(100))
    assert len(server.data_to_send()) == 100 * (65536 + 8)


def test_a_go_peer_may_send_beyond_any_window_and_is_given_more() -> None:
    server = Connection("server", Limits(window=65536))
    server.receive_data(GoPeer().open({}))
    server.data_to_send()
    for _ in range(10):
        assert received(server.receive_data(data_header(1, 0, 65536) + bytes(65536))) == bytes(65536)
    server.acknowledge(1, 20000)
    assert server.data_to_send() == b""
    server.acknowledge(1, 20000)
    assert server.data_to_send() == control(FrameType.WINDOW_UPDATE, 0, struct.pack(">II", 1, 40000))


def test_a_peer_with_windows_gets_no_more_than_they_let_through() -> None:
    server = Connection("server")
    peer = GoPeer()
    server.receive_data(settings(7, 1000) + peer.open({}) + peer.open({}))
    server.reply(1)
    server.reply(3)
    server.data_to_send()
    assert not server.send_data(1, b"x" * 2500, fin=True)
    assert len(server.data_to_send()) == 1000 + 8
    assert server.send_data(3, b"y" * 1000)  # the other stream has a window of its own
    server.data_to_send()
    update = struct.pack(">II", 1, 1000)
    assert server.receive_data(control(FrameType.WINDOW_UPDATE, 0, update)) == []
    assert len(server.data_to_send()) == 1000 + 8
    assert server.receive_data(control(FrameType.WINDOW_UPDATE, 0, update)) == [StreamWritable(1)]
    assert server.data_to_send() == data_header(1, 1, 500) + b"x" * 500


def test_the_sessions_window_holds_all_streams_back() -> None:
    server = Connection("server")
    peer = GoPeer()
    server.receive_data(settings(7, 100_000) + peer.open({}) + peer.open({}))
    assert server.send_data(1, b"x" * 60000)
    assert not server.send_data(3, b"y" * 60000)
    assert server.receive_data(control(FrameType.WINDOW_UPDATE, 0, struct.pack(">II", 0, 100_000))) == [
        StreamWritable(3)
    ]


def test_windows_that_show_late_count_from_the_first_byte() -> None:
    server = Connection("server")
    server.receive_data(GoPeer().open({}))
    assert server.send_data(1, b"x" * 200_000)
    server.receive_data(control(FrameType.WINDOW_UPDATE, 0, struct.pack(">II", 0, 1_000_000)))
    assert not server.send_data(1, b"y" * 10)
    events = server.receive_data(control(FrameType.WINDOW_UPDATE, 0, struct.pack(">II", 1, 200_000)))
    assert events == [StreamWritable(1)]


def test_both_ends_move_a_large_content_with_acknowledgements() -> None:
    client, server = pair()
    stream = client.open_stream({})
    passed(client, server)
    server.reply(stream)
    passed(server, client)
    content, found, waiting = bytes(range(256)) * 20_000, b"", False
    position = 0
    while len(found) < len(content):
        if not waiting and position < len(content):
            waiting = not client.send_data(stream, content[position : position + 100_000])
            position += 100_000
        for event in passed(client, server):
            assert isinstance(event, DataReceived)
            found += event.data
            server.acknowledge(stream, len(event.data))
        waiting = waiting and StreamWritable(stream) not in passed(server, client)
    assert found == content


def unknown_frame() -> bytes:
    return struct.pack(">HHI", 0x8003, 77, 3) + b"abc"


def test_frames_of_unknown_types_are_ignored() -> None:
    _, server = pair()
    assert server.receive_data(unknown_frame() + GoPeer().open({"a": "b"})) == [StreamOpened(1, {"a": "b"}, False)]


BOMB = zlib.compressobj(zdict=DICTIONARY)
TOO_LARGE = BOMB.compress(struct.pack(">II", 1, 1 << 20) + b"a" * (1 << 20)) + BOMB.flush(zlib.Z_SYNC_FLUSH)


def block(content: bytes) -> bytes:
    made = zlib.compressobj(zdict=DICTIONARY)
    return made.compress(content) + made.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (struct.pack(">HHI", 0x8002, 1, 10) + bytes(10), "version 2"),
        (struct.pack(">HHI", 0x8003, 1, 5) + bytes(5), "too short"),
        (struct.pack(">HHI", 0x8003, 1, 1 << 20), "control frame of 1048576"),
        (struct.pack(">HHI", 0x8003, 3, 4) + bytes(4), "RST_STREAM of 4 bytes"),
        (struct.pack(">HHI", 0x8003, 4, 8) + struct.pack(">II", 9, 0), "9 entries"),
        (struct.pack(">HHI", 0x8003, 6, 0), "PING of 0 bytes"),
        (syn_stream(2, Compressor().compress({}), 0), "not the peer's"),
        (syn_stream(0, Compressor().compress({}), 0), "not the peer's"),
        (syn_stream(1, b"no zlib at all", 0), "cannot be decompressed"),
        (syn_stream(1, TOO_LARGE, 0), "more than 65536 bytes"),
        (syn_stream(1, block(struct.pack(">I", 1 << 31)), 0), "says that it has 2147483648 headers"),
        (syn_stream(1, block(struct.pack(">II", 1, 9) + b"abcd1234"), 0), "ends in the middle"),
        (syn_stream(1, block(b"\0\0"), 0), "ends in the middle"),
        (syn_stream(1, block(struct.pack(">I", 0) + b"rest"), 0), "behind the headers"),
        (syn_stream(1, block(struct.pack(">II", 1, 1) + b"A" + struct.pack(">I", 0)), 0), "lower case"),
        (
            syn_stream(1, block(struct.pack(">I", 2) + (struct.pack(">I", 1) + b"a" + struct.pack(">I", 0)) * 2), 0),
            "twice",
        ),
    ],
)
def test_a_broken_protocol_ends_the_session_and_is_told(frame: bytes, reason: str) -> None:
    _, server = pair()
    (event,) = server.receive_data(frame)
    assert isinstance(event, ProtocolFailed)
    assert reason in event.reason
    assert server.failed
    assert server.data_to_send() == control(FrameType.GOAWAY, 0, struct.pack(">II", 0, 1))
    assert server.receive_data(GoPeer().open({})) == []


def test_ids_may_not_go_backwards() -> None:
    _, server = pair()
    peer = GoPeer()
    first, second = peer.open({}), peer.open({})
    server.receive_data(first + second)
    (event,) = server.receive_data(syn_stream(1, peer.compressor.compress({}), 0))
    assert isinstance(event, ProtocolFailed)


@pytest.mark.parametrize("flags", [0, FLAG_UNIDIRECTIONAL])
def test_a_stream_that_takes_no_answer_says_so(flags: int) -> None:
    server = Connection("server")
    (opened,) = server.receive_data(syn_stream(1, Compressor().compress({}), flags))
    assert opened == StreamOpened(1, {}, False, unidirectional=bool(flags))
    server.reply(1)
    if flags:
        with pytest.raises(ValueError, match="ended"):
            server.send_data(1, b"text")
    else:
        assert server.send_data(1, b"text")
