"""From bytes, cut anywhere, to control frames that are whole and data in the pieces in which it comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from podyard.wire.spdy import frames
from podyard.wire.spdy.frames import FrameError


@dataclass(frozen=True, slots=True)
class Control:
    """A control frame. ``kind``: version and type."""

    kind: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a data frame. ``last``: the frame's last. ``fin``: the stream's last."""

    stream_id: int
    content: bytes
    last: bool
    fin: bool


class FrameReader:
    """``limit``: bytes that a control frame may have. No more than that is kept between two calls."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._needed = frames.HEADER_SIZE
        self._stream_id = 0
        self._left = 0
        self._fin = False

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._rest)

    def read(self, data: bytes) -> Iterator[Control | Data]:
        """What is complete now. Raises FrameError; there is no going on after that."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end = 0, len(data)
        while True:
            if self._left:
                content = data[at : at + self._left]
                at += len(content)
                self._left -= len(content)
                yield Data(self._stream_id, content, not self._left, self._fin and not self._left)
                if self._left:
                    return
            self._needed = frames.HEADER_SIZE
            if end - at < self._needed:
                break
            first, second = frames.HEADER.unpack_from(data, at)
            flags, length = second >> 24, second & 0xFFFFFF
            if first & 0x80000000:
                if length > self._limit:
                    raise FrameError(f"a control frame of {length} bytes")
                self._needed += length
                if end - at < self._needed:
                    break
                at += self._needed
                yield Control(first & 0x7FFFFFFF, flags, data[at - length : at])
            else:
                at += frames.HEADER_SIZE
                self._stream_id, self._left, self._fin = first, length, bool(flags & frames.FLAG_FIN)
                if not length:
                    yield Data(first, b"", True, self._fin)
        self._rest += memoryview(data)[at:]
