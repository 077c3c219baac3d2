"""What the query of a log request asks for (the API's PodLogOptions)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from podyard.errors import InvalidArgument
from podyard.pods.loglines import LogLine, parse_time

_LARGEST = 2**63 - 1
_STREAMS: Mapping[str, Literal["", "stdout", "stderr"]] = {"": "", "All": "", "Stdout": "stdout", "Stderr": "stderr"}


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Which lines, and how they are written."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    """How many lines from the end."""
    since: int | None = None
    """Nanoseconds since 1970."""
    limit: int | None = None
    """Bytes of the answer."""
    stream: Literal["", "stdout", "stderr"] = ""
    """The only one that is shown."""

    def content(self, line: LogLine) -> bytes:
        """What is shown of a line; b"" for nothing."""
        if self.stream and line.stream != self.stream:
            return b""
        return line.content(timestamps=self.timestamps)


def log_options(query: Mapping[str, str], now: int | None = None) -> LogOptions:
    """``now``: nanoseconds since 1970. Raises InvalidArgument for what the API would not accept."""
    since_seconds, since_time = _number(query, "sinceSeconds", 1), query.get("sinceTime", "")
    if since_seconds is not None and since_time:
        raise InvalidArgument("sinceSeconds and sinceTime: at most one of them may be given")
    since = None
    if since_seconds is not None:
        since = (time.time_ns() if now is None else now) - since_seconds * 10**9
    elif since_time:
        since = parse_time(since_time)
        if not since:
            raise InvalidArgument(f"sinceTime: {since_time!r} is no RFC 3339 time")
    stream = _STREAMS.get(query.get("stream", ""))
    tail = _number(query, "tailLines", 0)
    if stream is None:
        raise InvalidArgument(f"stream: {query['stream']!r} is none of All, Stdout and Stderr")
    if stream and tail is not None:
        raise InvalidArgument("tailLines counts the lines of both streams: it cannot be given with a stream")
    return LogOptions(
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        timestamps=flag(query, "timestamps"),
        tail=tail,
        since=since,
        limit=_number(query, "limitBytes", 1),
        stream=stream,
    )


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether something is asked for; as the API reads it, anything but "0" and "false" says so."""
    return name in query and query[name].lower() not in ("0", "false")


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= _LARGEST):
        raise InvalidArgument(f"{name}: {text!r} is not a whole number from {least} on")
    return int(text)
