"""Whatever a peer sends: events or an error of the protocol, nothing else, and no memory beyond the limits.

HYPOTHESIS_EXAMPLES sets how many inputs each test tries.
"""

from __future__ import annotations

import json
import os
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from podyard.wire import channels
from podyard.wire.remotecommand import V4, ResizeReader, Status
from podyard.wire.spdy import Connection, DataReceived, Limits, StreamOpened
from podyard.wire.spdy.frames import data_header, syn_stream, with_headers
from podyard.wire.spdy.headers import Compressor

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "150"))
LIMITS = Limits(streams=8, control_frame=4096, headers=4096, window=4096)

_fuzzed = settings(max_examples=EXAMPLES, deadline=None)
_numbers = st.one_of(
    st.integers(0, 12), st.sampled_from([0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 2**32 - 1)
)


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    """Something like a frame."""
    kind = draw(st.integers(0, 12))
    if kind == 0:
        content = draw(st.binary(max_size=200))
        return data_header(draw(st.integers(0, 12)), draw(st.integers(0, 3)), len(content)) + content
    payload = draw(
        st.one_of(st.binary(max_size=40), st.lists(_numbers, max_size=4).map(lambda n: struct.pack(f">{len(n)}I", *n)))
    )
    length = draw(st.one_of(st.just(len(payload)), st.integers(0, 0xFFFFFF)))
    return struct.pack(">HHI", 0x8003, kind, draw(st.integers(0, 3)) << 24 | length) + payload


@st.composite
def session(draw: st.DrawFn) -> bytes:
    """Frames of a client whose headers are right, with others between them."""
    compressor, parts = Compressor(), []
    stream_id = 1
    for _ in range(draw(st.integers(0, 8))):
        headers = draw(st.dictionaries(st.text("abc", min_size=1, max_size=5), st.text(max_size=20), max_size=3))
        parts.append(syn_stream(stream_id, compressor.compress(headers), draw(st.integers(0, 3))))
        stream_id += 2
        if draw(st.booleans()):
            parts.append(
                with_headers(draw(st.sampled_from([2, 8])), draw(st.integers(1, 9)), compressor.compress(headers), 0)
            )  # type: ignore[arg-type]
        parts += draw(st.lists(frame(), max_size=3))
    return b"".join(parts)


@_fuzzed
@given(st.one_of(session(), st.lists(frame(), max_size=6).map(b"".join), st.binary(max_size=400)), st.data())
def test_spdy_takes_anything(content: bytes, data: st.DataObject) -> None:
    for role in ("server", "client"):
        connection = Connection(role, LIMITS)  # type: ignore[arg-type]
        position = 0
        while position < len(content):
            size = data.draw(st.integers(1, len(content)))
            for event in connection.receive_data(content[position : position + size]):
                if isinstance(event, StreamOpened) and event.stream_id in connection.streams:
                    connection.reply(event.stream_id)
                if isinstance(event, DataReceived):
                    connection.acknowledge(event.stream_id, len(event.data))
            position += size
        assert len(connection.streams) <= LIMITS.streams
        assert connection._reader.buffered <= LIMITS.control_frame + 8
        assert len(connection.data_to_send()) <= 100 + 24 * len(content)


@_fuzzed
@given(st.binary(max_size=100), st.sampled_from(sorted(channels.REMOTE_COMMAND)))
def test_channels_take_anything(payload: bytes, name: str) -> None:
    try:
        number, data = channels.REMOTE_COMMAND[name].decode(payload)
    except ValueError:
        return
    assert isinstance(data, bytes)
    assert -48 <= number <= 255


@_fuzzed
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50), st.sampled_from([b'{"Width":1,', b'"Height":2}', b"{", b"}", b"[", b"1e999"])
        ),
        max_size=6,
    )
)
def test_sizes_take_anything(pieces: list[bytes]) -> None:
    reader = ResizeReader()
    for piece in pieces:
        try:
            for size in reader.feed(piece):
                assert 0 < size.width < 65536
        except ValueError:
            return


_documents = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: (
        st.dictionaries(st.sampled_from(["status", "reason", "details", "causes", "message"]), inner, max_size=3)
        | st.lists(inner, max_size=2)
    ),
)


@_fuzzed
@given(st.one_of(st.binary(max_size=100), _documents.map(lambda value: json.dumps(value).encode())))
def test_statuses_take_anything(content: bytes) -> None:
    try:
        Status.decode(content, V4)
    except ValueError:
        return
