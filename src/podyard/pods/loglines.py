"""The lines of a CRI log: ``TIME stdout|stderr P|F TEXT``; P marks a part of a line that goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

MAX_LINE = 1 << 20
"""Bytes after which a line that does not end is given out in pieces."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a container's output, its parts joined."""

    source: str
    """Which log it is from."""
    time: str
    """As written (RFC 3339, nanoseconds), when its first part was; "" for a line that is not in the format."""
    stream: Literal["stdout", "stderr"]
    text: bytes
    """Without the newline."""
    complete: bool = True
    """False where the output goes on, or ended, without a newline."""

    @property
    def nanoseconds(self) -> int:
        """Its time since 1970; 0 where it has none."""
        return parse_time(self.time)

    def content(self, *, timestamps: bool = False) -> bytes:
        """The line as the container wrote it, with its newline; with its time before it if asked.

        UTC is told as "Z", whichever way the log has it.
        """
        stamp = f"{self.time.replace('+00:00', 'Z')} ".encode() if timestamps and self.time else b""
        return stamp + self.text + (b"\n" if self.complete else b"")


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time; 0 where it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return 0
    whole, fraction, zone = match.groups()
    try:
        seconds = int(datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).timestamp())
    except ValueError:
        return 0
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))


class LineParser:
    """Bytes of a log → its lines. Keeps what is not complete yet, in bounds."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rest = b""
        self._parts: dict[Literal["stdout", "stderr"], LogLine] = {}

    def feed(self, data: bytes) -> Iterator[LogLine]:
        """The lines that ``data`` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield from self._line(line)

    def finish(self) -> Iterator[LogLine]:
        """What is left when no more will come."""
        if self._rest:
            yield from self._line(self._rest)
        self._rest = b""
        yield from self._parts.values()
        self._parts.clear()

    def _line(self, raw: bytes) -> Iterator[LogLine]:
        fields = raw.split(b" ", 3)
        stream = _STREAMS.get(fields[1]) if len(fields) == 4 else None
        if stream is None or fields[2].split(b":")[0] not in (b"P", b"F"):
            yield LogLine(self._source, "", "stdout", raw)  # not in the format: shown as it is, rather than lost
            return
        known: Literal["stdout", "stderr"] = "stderr" if stream == "stderr" else "stdout"
        before = self._parts.pop(known, None)
        time = before.time if before is not None else fields[0].decode("utf-8", "replace")
        text = fields[3] if before is None else before.text + fields[3]
        line = LogLine(self._source, time, known, text, fields[2].split(b":")[0] == b"F")
        if line.complete or len(text) > MAX_LINE:
            yield line
        else:
            self._parts[known] = line
