"""What log requests ask for."""

from __future__ import annotations

from typing import Any

import pytest

from podyard.errors import InvalidArgument
from podyard.node.serving.options import LogOptions, log_options
from podyard.pods.loglines import LogLine

NOW = 1_000_000_000_000_000_000


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, {}),
        ({"follow": "true", "previous": "1", "timestamps": ""}, {"follow": True, "previous": True, "timestamps": True}),
        ({"follow": "false", "previous": "0", "timestamps": "False"}, {}),
        ({"tailLines": "0"}, {"tail": 0}),
        ({"tailLines": "", "sinceSeconds": "", "sinceTime": ""}, {}),
        ({"limitBytes": "1"}, {"limit": 1}),
        ({"sinceSeconds": "60"}, {"since": NOW - 60 * 10**9}),
        ({"sinceTime": "1970-01-01T01:00:01+01:00"}, {"since": 10**9}),
        ({"stream": "All", "tailLines": "3"}, {"tail": 3}),
        ({"stream": "Stderr"}, {"stream": "stderr"}),
        ({"other": "x"}, {}),
    ],
)
def test_queries(query: dict[str, str], wanted: dict[str, Any]) -> None:
    assert log_options(query, NOW) == LogOptions(**wanted)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"tailLines": "-1"}, "tailLines: '-1' is not a whole number from 0 on"),
        ({"tailLines": "1" * 20}, "is not a whole number"),
        ({"tailLines": "٣"}, "is not a whole number"),
        ({"limitBytes": "0"}, "limitBytes: '0' is not a whole number from 1 on"),
        ({"sinceSeconds": "0"}, "sinceSeconds"),
        ({"sinceSeconds": "1", "sinceTime": "1970-01-01T00:00:01Z"}, "at most one"),
        ({"sinceTime": "yesterday"}, "no RFC 3339 time"),
        ({"stream": "stdin"}, "none of All, Stdout and Stderr"),
        ({"stream": "Stdout", "tailLines": "1"}, "cannot be given with a stream"),
    ],
)
def test_what_is_asked_wrongly_is_told(query: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        log_options(query, NOW)


def test_lines_are_shown_as_asked() -> None:
    line = LogLine("main", "1970-01-01T00:00:01Z", "stderr", b"text")
    assert LogOptions().content(line) == b"text\n"
    assert LogOptions(timestamps=True, stream="stderr").content(line) == b"1970-01-01T00:00:01Z text\n"
    assert LogOptions(stream="stdout").content(line) == b""
