"""What a SPDY peer did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream. It may expect a reply before it sends or takes data. ``fin``: it sends none.

    ``unidirectional``: it takes none. A stream may have ended, or been reset, by what came together with its beginning.
    """

    stream_id: int
    headers: Mapping[str, str]
    fin: bool
    unidirectional: bool = False


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """The peer accepted a stream that this end opened."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """Further headers on an open stream."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A piece of a stream's data, as it came in: frames are not kept together. ``fin``: the peer sends no more.

    Whoever has used it up says so with ``Connection.acknowledge``.
    """

    stream_id: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer gave a stream up: nothing comes or goes on it any more. ``status``: see ResetStatus, or a number."""

    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """All that was given to ``send_data`` has been handed out: the peer's window let it through."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PingReplied:
    """The answer to a ping of this end."""

    ping_id: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer takes no new streams. ``status``: see GoAwayStatus."""

    last_stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class ProtocolFailed:
    """The peer broke the protocol or a limit. The connection is of no more use: send what is left, then close."""

    reason: str


Event = (
    StreamOpened
    | StreamReplied
    | HeadersReceived
    | DataReceived
    | StreamReset
    | StreamWritable
    | PingReplied
    | GoneAway
    | ProtocolFailed
)
