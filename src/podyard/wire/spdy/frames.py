"""The bytes of SPDY/3 frames (SPDY Protocol, draft 3, 2.2 and 2.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

VERSION = 3
HEADER_SIZE = 8
FLAG_FIN = 0x01
FLAG_UNIDIRECTIONAL = 0x02
MAX_STREAM_ID = 0x7FFFFFFF
SETTINGS_INITIAL_WINDOW_SIZE = 7

HEADER = struct.Struct(">II")
"""Control frames: version and type; flags and length. Data frames: stream id; flags and length."""


class FrameType(IntEnum):
    """Control frames. Others are ignored, as the specification wants."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(IntEnum):
    """Why a stream ends (2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class GoAwayStatus(IntEnum):
    """Why a session ends (2.6.6)."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class FrameError(Exception):
    """A frame that cannot be. The session cannot go on."""


def control(kind: FrameType, flags: int, payload: bytes) -> bytes:
    """A control frame."""
    return HEADER.pack(0x80000000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


def data_header(stream_id: int, flags: int, length: int) -> bytes:
    """What stands before a data frame's payload."""
    return HEADER.pack(stream_id, flags << 24 | length)


def syn_stream(stream_id: int, block: bytes, flags: int) -> bytes:
    """SYN_STREAM without an associated stream, with the highest priority. ``block``: the compressed headers."""
    return control(FrameType.SYN_STREAM, flags, struct.pack(">IIH", stream_id, 0, 0) + block)


def with_headers(kind: FrameType, stream_id: int, block: bytes, flags: int) -> bytes:
    """SYN_REPLY or HEADERS."""
    return control(kind, flags, struct.pack(">I", stream_id) + block)


def numbers(kind: FrameType, *values: int) -> bytes:
    """RST_STREAM, PING, GOAWAY or WINDOW_UPDATE: 32-bit numbers alone."""
    return control(kind, 0, struct.pack(f">{len(values)}I", *values))


def settings(identifier: int, value: int) -> bytes:
    """SETTINGS with one entry."""
    return control(FrameType.SETTINGS, 0, struct.pack(">III", 1, identifier, value))


def read_numbers(kind: FrameType, payload: bytes, count: int) -> tuple[int, ...]:
    """The numbers of a frame of fixed length. Raises FrameError."""
    if len(payload) != 4 * count:
        raise FrameError(f"a {kind.name} of {len(payload)} bytes, not {4 * count}")
    values: tuple[int, ...] = struct.unpack(f">{count}I", payload)
    return values


def read_stream_id(kind: FrameType, payload: bytes, least: int) -> int:
    """The stream that a frame of at least ``least`` bytes begins with. Raises FrameError."""
    if len(payload) < least:
        raise FrameError(f"a {kind.name} of {len(payload)} bytes is too short")
    return int.from_bytes(payload[:4]) & MAX_STREAM_ID


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Identifiers and values. Raises FrameError."""
    count = int.from_bytes(payload[:4])
    if len(payload) != 4 + 8 * count:
        raise FrameError(f"SETTINGS with {count} entries in {len(payload)} bytes")
    for _, *identifier, value in struct.iter_unpack(">B3BI", payload[4:]):
        yield int.from_bytes(bytes(identifier)), value
