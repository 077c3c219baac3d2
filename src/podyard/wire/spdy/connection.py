"""A SPDY/3.1 session's state: bytes in, events out; calls in, bytes out.

Windows. The specification lets a sender have 64 KiB under way on each stream and on the session, and more as the
receiver gives it (2.6.8). The Go implementation, which kubelets, kubectl, containerd and CRI-O use, neither keeps to
windows nor gives any: it relies on TCP. So this end sends without limit until the peer shows that it knows windows (by
SETTINGS or WINDOW_UPDATE), and then counts from the first byte on. It announces windows of its own at once: a peer
that keeps to them is never the reason to stop reading from the socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from podyard.wire.spdy import frames
from podyard.wire.spdy.events import (
    DataReceived,
    Event,
    GoneAway,
    HeadersReceived,
    PingReplied,
    ProtocolFailed,
    StreamOpened,
    StreamReplied,
    StreamReset,
    StreamWritable,
)
from podyard.wire.spdy.frames import FrameError, FrameType, GoAwayStatus, ResetStatus
from podyard.wire.spdy.headers import Compressor, Decompressor
from podyard.wire.spdy.reader import Control, Data, FrameReader

Role = Literal["client", "server"]

DEFAULT_WINDOW = 65536
SESSION_WINDOW = 0x7FFFFFFF
"""What the peer may have under way in all: the streams' windows are what bounds it."""
LARGEST_DATA = 65536
"""Payload of a data frame that is sent: a peer may have to hold one whole."""


@dataclass(frozen=True)
class Limits:
    """What a peer may do. Beyond ``streams`` at once, further ones are refused; beyond the others the session fails."""

    streams: int = 1024
    control_frame: int = 65536
    """Bytes of a control frame, compressed."""
    headers: int = 65536
    """Bytes of a header block, decompressed."""
    window: int = 262144
    """Bytes that a stream may bring before they are acknowledged; announced to the peer."""


@dataclass
class _Stream:
    replied: bool
    """Whether this end has replied, for a stream that the peer opened."""
    local_closed: bool = False
    remote_closed: bool = False
    sent: int = 0
    credit: int = 0
    """What the peer has given beyond the initial window."""
    unacknowledged: int = 0
    waiting: deque[bytes] = field(default_factory=deque)
    waiting_fin: bool = False


class Connection:
    """One end of a session, after the HTTP upgrade.

    ``receive_data`` never raises for what a peer sends: a broken protocol is a ProtocolFailed event. The other methods
    raise KeyError for a stream that is not open (any more), ValueError for data after the end.
    """

    def __init__(self, role: Role, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._next_id = 1 if role == "client" else 2
        self._next_ping = self._next_id
        self._last_peer_id = 0
        self._peer_parity = 1 if role == "server" else 0
        self._compressor = Compressor()
        self._decompressor = Decompressor(self._limits.headers)
        self._streams: dict[int, _Stream] = {}
        self._reader = FrameReader(self._limits.control_frame)
        self._failed = False
        self._going_away = False
        self._peer_has_windows = False
        self._peer_window = DEFAULT_WINDOW
        self._session_sent = 0
        self._session_credit = DEFAULT_WINDOW
        self._session_received = 0
        self._out = [
            frames.settings(frames.SETTINGS_INITIAL_WINDOW_SIZE, self._limits.window),
            frames.numbers(FrameType.WINDOW_UPDATE, 0, SESSION_WINDOW - DEFAULT_WINDOW),
        ]

    @property
    def failed(self) -> bool:
        """Whether the peer has broken the protocol: what it sends is ignored from then on."""
        return self._failed

    @property
    def peer_has_windows(self) -> bool:
        """Whether the peer has shown that it gives windows, and so keeps to them."""
        return self._peer_has_windows

    @property
    def streams(self) -> frozenset[int]:
        """The streams that are open in at least one direction."""
        return frozenset(self._streams)

    def data_to_send(self) -> bytes:
        """The bytes for the peer since the last time."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def open_stream(self, headers: Mapping[str, str], fin: bool = False) -> int:
        """Open a stream; its id. ``fin``: this end sends nothing on it."""
        stream_id = self._next_id
        self._next_id += 2
        stream = self._streams[stream_id] = _Stream(replied=True)
        block = self._compressor.compress(headers)
        self._out.append(frames.syn_stream(stream_id, block, frames.FLAG_FIN if fin else 0))
        stream.local_closed = fin
        return stream_id

    def reply(self, stream_id: int, headers: Mapping[str, str] | None = None, fin: bool = False) -> None:
        """Accept a stream that the peer opened."""
        stream = self._streams[stream_id]
        if stream.replied:
            raise ValueError(f"stream {stream_id} has been replied to")
        stream.replied = True
        block = self._compressor.compress(headers or {})
        self._out.append(frames.with_headers(FrameType.SYN_REPLY, stream_id, block, frames.FLAG_FIN if fin else 0))
        if fin:
            self._close_local(stream_id, stream)

    def send_data(self, stream_id: int, data: bytes, fin: bool = False) -> bool:
        """Send data, in frames of at most LARGEST_DATA. ``fin``: this end sends no more.

        False when the peer's window holds some of it back: it goes out by itself, and StreamWritable tells when. A
        caller that waits for that does not make the backlog grow.
        """
        stream = self._streams[stream_id]
        if stream.local_closed or stream.waiting_fin:
            raise ValueError(f"stream {stream_id} has been ended by this end")
        if data:
            stream.waiting.append(data)
        stream.waiting_fin = fin
        return self._send_waiting(stream_id, stream)

    def reset(self, stream_id: int, status: int = ResetStatus.CANCEL) -> None:
        """Give a stream up. One that is closed already is fine."""
        if self._streams.pop(stream_id, None) is not None:
            self._out.append(frames.numbers(FrameType.RST_STREAM, stream_id, status))

    def acknowledge(self, stream_id: int, size: int) -> None:
        """``size`` bytes of a stream's data have been used up: the peer may send as many again."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        stream.unacknowledged += size
        if stream.unacknowledged >= self._limits.window // 2:
            self._out.append(frames.numbers(FrameType.WINDOW_UPDATE, stream_id, stream.unacknowledged))
            stream.unacknowledged = 0

    def ping(self) -> int:
        """Ask for a sign of life; the id that PingReplied will have."""
        ping_id = self._next_ping
        self._next_ping = (self._next_ping + 2) & 0x7FFFFFFF
        self._out.append(frames.numbers(FrameType.PING, ping_id))
        return ping_id

    def goaway(self, status: int = GoAwayStatus.OK) -> None:
        """Take no further streams."""
        if not self._going_away:
            self._going_away = True
            self._out.append(frames.numbers(FrameType.GOAWAY, self._last_peer_id, status))

    def receive_data(self, data: bytes) -> list[Event]:
        """What the peer did, by the bytes that came from it."""
        events: list[Event] = []
        if self._failed:
            return events
        try:
            for part in self._reader.read(data):
                if isinstance(part, Data):
                    self._take_data(part, events)
                else:
                    self._take_control(part, events)
        except FrameError as error:
            self._failed = True
            self.goaway(GoAwayStatus.PROTOCOL_ERROR)
            events.append(ProtocolFailed(str(error)))
        return events

    def _take_data(self, data: Data, events: list[Event]) -> None:
        self._session_received += len(data.content)
        if self._session_received >= SESSION_WINDOW // 2:
            self._out.append(frames.numbers(FrameType.WINDOW_UPDATE, 0, self._session_received))
            self._session_received = 0
        stream = self._streams.get(data.stream_id)
        if stream is None:
            if data.last and not self._has_been(data.stream_id):
                self._out.append(frames.numbers(FrameType.RST_STREAM, data.stream_id, ResetStatus.INVALID_STREAM))
            return
        if stream.remote_closed:
            self.reset(data.stream_id, ResetStatus.STREAM_ALREADY_CLOSED)
            events.append(StreamReset(data.stream_id, ResetStatus.STREAM_ALREADY_CLOSED))
            return
        if data.content or data.fin:
            events.append(DataReceived(data.stream_id, data.content, data.fin))
        if data.fin:
            self._close_remote(data.stream_id, stream)

    def _take_control(self, frame: Control, events: list[Event]) -> None:
        if frame.kind >> 16 != frames.VERSION:
            raise FrameError(f"a frame of SPDY version {frame.kind >> 16}")
        flags, payload = frame.flags, frame.payload
        match frame.kind & 0xFFFF:
            case FrameType.SYN_STREAM:
                self._take_syn_stream(flags, payload, events)
            case FrameType.SYN_REPLY:
                stream_id = frames.read_stream_id(FrameType.SYN_REPLY, payload, 4)
                headers = self._decompressor.decompress(payload[4:])
                self._take_headers(StreamReplied(stream_id, headers, bool(flags & frames.FLAG_FIN)), events)
            case FrameType.HEADERS:
                stream_id = frames.read_stream_id(FrameType.HEADERS, payload, 4)
                headers = self._decompressor.decompress(payload[4:])
                self._take_headers(HeadersReceived(stream_id, headers, bool(flags & frames.FLAG_FIN)), events)
            case FrameType.RST_STREAM:
                stream_id, status = frames.read_numbers(FrameType.RST_STREAM, payload, 2)
                if self._streams.pop(stream_id & frames.MAX_STREAM_ID, None) is not None:
                    events.append(StreamReset(stream_id & frames.MAX_STREAM_ID, status))
            case FrameType.SETTINGS:
                self._take_settings(payload, events)
            case FrameType.PING:
                (ping_id,) = frames.read_numbers(FrameType.PING, payload, 1)
                if ping_id % 2 == self._peer_parity:
                    self._out.append(frames.numbers(FrameType.PING, ping_id))
                else:
                    events.append(PingReplied(ping_id))
            case FrameType.GOAWAY:
                last, status = frames.read_numbers(FrameType.GOAWAY, payload, 2)
                events.append(GoneAway(last & frames.MAX_STREAM_ID, status))
            case FrameType.WINDOW_UPDATE:
                stream_id, delta = frames.read_numbers(FrameType.WINDOW_UPDATE, payload, 2)
                self._take_window(stream_id & frames.MAX_STREAM_ID, delta & 0x7FFFFFFF, events)

    def _take_syn_stream(self, flags: int, payload: bytes, events: list[Event]) -> None:
        stream_id = frames.read_stream_id(FrameType.SYN_STREAM, payload, 10)
        headers = self._decompressor.decompress(payload[10:])
        if stream_id % 2 != self._peer_parity or stream_id <= self._last_peer_id:
            raise FrameError(f"the stream {stream_id} is not the peer's to open after {self._last_peer_id}")
        self._last_peer_id = stream_id
        if self._going_away:
            return
        if len(self._streams) >= self._limits.streams:
            self._out.append(frames.numbers(FrameType.RST_STREAM, stream_id, ResetStatus.REFUSED_STREAM))
            return
        fin = bool(flags & frames.FLAG_FIN)
        stream = self._streams[stream_id] = _Stream(replied=False)
        stream.local_closed = bool(flags & frames.FLAG_UNIDIRECTIONAL)
        events.append(StreamOpened(stream_id, headers, fin, stream.local_closed))
        if fin:
            self._close_remote(stream_id, stream)

    def _take_headers(self, event: StreamReplied | HeadersReceived, events: list[Event]) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.remote_closed:
            return
        events.append(event)
        if event.fin:
            self._close_remote(event.stream_id, stream)

    def _take_settings(self, payload: bytes, events: list[Event]) -> None:
        for identifier, value in frames.read_settings(payload):
            if identifier == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                self._peer_has_windows = True
                self._peer_window = min(value, SESSION_WINDOW)
                self._send_all_waiting(events)

    def _take_window(self, stream_id: int, delta: int, events: list[Event]) -> None:
        self._peer_has_windows = True
        if stream_id == 0:
            self._session_credit += delta
            self._send_all_waiting(events)
            return
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.credit += delta
            if (stream.waiting or stream.waiting_fin) and self._send_waiting(stream_id, stream):
                events.append(StreamWritable(stream_id))

    def _send_all_waiting(self, events: list[Event]) -> None:
        for stream_id, stream in list(self._streams.items()):
            if (stream.waiting or stream.waiting_fin) and self._send_waiting(stream_id, stream):
                events.append(StreamWritable(stream_id))

    def _send_waiting(self, stream_id: int, stream: _Stream) -> bool:
        """Send what the windows let through; whether that was all."""
        while stream.waiting:
            data = stream.waiting.popleft()
            size = min(len(data), LARGEST_DATA, self._window(stream))
            if size < len(data):
                stream.waiting.appendleft(data[size:])
            if size <= 0:
                return False
            stream.sent += size
            self._session_sent += size
            last = stream.waiting_fin and not stream.waiting
            self._out.append(frames.data_header(stream_id, frames.FLAG_FIN if last else 0, size))
            self._out.append(data[:size] if size < len(data) else data)
            if last:
                self._close_local(stream_id, stream)
                return True
        if stream.waiting_fin:
            self._out.append(frames.data_header(stream_id, frames.FLAG_FIN, 0))
            self._close_local(stream_id, stream)
        return True

    def _window(self, stream: _Stream) -> int:
        if not self._peer_has_windows:
            return LARGEST_DATA
        of_stream = self._peer_window + stream.credit - stream.sent
        return max(0, min(of_stream, self._session_credit - self._session_sent))

    def _has_been(self, stream_id: int) -> bool:
        """Whether a stream was open once: frames may have been under way when it was closed."""
        if stream_id % 2 == self._peer_parity:
            return stream_id <= self._last_peer_id
        return stream_id < self._next_id

    def _close_local(self, stream_id: int, stream: _Stream) -> None:
        stream.local_closed = True
        stream.waiting_fin = False  # a window that is opened later must not end the stream a second time
        if stream.remote_closed:
            self._streams.pop(stream_id, None)

    def _close_remote(self, stream_id: int, stream: _Stream) -> None:
        stream.remote_closed = True
        if stream.local_closed:
            self._streams.pop(stream_id, None)
