"""Container logs: lines joined from parts, read from the end, followed across rotation and truncation."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.errors import InvalidArgument, NotFound
from podyard.manifest.model import Pod
from podyard.pods import LogLine, PodEngine, follow, previous, read_lines
from podyard.pods.loglines import MAX_LINE, LineParser, parse_time
from podyard.pods.logs import log_of

MakePod = Callable[..., Pod]


def entry(text: str, second: int = 0, *, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-02T03:04:{second:02d}.000000005Z {stream} {tag} {text}\n"


def texts(lines: list[LogLine]) -> list[bytes]:
    return [line.text for line in lines]


def test_a_line_has_its_time_stream_and_text() -> None:
    (line,) = LineParser("main").feed(b"2016-10-06T00:17:09.669794202Z stderr F  two  words \n")
    assert line == LogLine("main", "2016-10-06T00:17:09.669794202Z", "stderr", b" two  words ")
    assert line.nanoseconds == 1475713029669794202
    assert line.content() == b" two  words \n"
    assert line.content(timestamps=True) == b"2016-10-06T00:17:09.669794202Z  two  words \n"


def test_utc_is_told_in_one_way() -> None:
    (line,) = LineParser("main").feed(b"2016-10-06T00:17:09.669794202+00:00 stdout F text\n")
    assert line.content(timestamps=True) == b"2016-10-06T00:17:09.669794202Z text\n"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T01:00:01.000000001+01:00", 1_000_000_001),
        ("1970-13-01T00:00:01Z", 0),
        ("now", 0),
        ("", 0),
    ],
)
def test_times_keep_their_nanoseconds(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == nanoseconds


def test_parts_are_joined_for_each_stream() -> None:
    data = (
        entry("a", 1, tag="P")
        + entry("x", 2, stream="stderr", tag="P")
        + entry("b", 3)
        + entry("y", 4, stream="stderr")
    )
    lines = list(LineParser("").feed(data.encode()))
    assert [(line.stream, line.text, line.time[17:19]) for line in lines] == [
        ("stdout", b"ab", "01"),
        ("stderr", b"xy", "02"),
    ]


def test_pieces_may_end_anywhere() -> None:
    data = (entry("one") + entry("tw", tag="P") + entry("o")).encode()
    parser = LineParser("")
    assert [line.text for byte in range(len(data)) for line in parser.feed(data[byte : byte + 1])] == [b"one", b"two"]


def test_output_without_a_newline_is_given_out_at_the_end() -> None:
    parser = LineParser("")
    assert list(parser.feed(entry("prompt", tag="P").encode())) == []
    (line,) = parser.finish()
    assert (line.complete, line.content()) == (False, b"prompt")


def test_what_is_not_in_the_format_is_shown_as_it_is() -> None:
    lines = list(LineParser("").feed(b"panic\n\nt other F x\nt stdout X y\n"))
    assert texts(lines) == [b"panic", b"", b"t other F x", b"t stdout X y"]
    assert {line.time for line in lines} == {""}


def test_an_endless_line_is_given_out_in_pieces() -> None:
    parser = LineParser("")
    part = entry("x" * 60_000, tag="P").encode()
    given = [line for _ in range(40) for line in parser.feed(part)]
    assert len(given) == 2
    assert all(not line.complete and MAX_LINE < len(line.text) <= MAX_LINE + 60_000 for line in given)
    raw = LineParser("")
    assert sum(len(line.text) for _ in range(3) for line in raw.feed(b"x" * MAX_LINE)) >= 2 * MAX_LINE


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (None, [b"one", b"two", b"three", b"end"]),
        (0, []),
        (1, [b"end"]),
        (2, [b"three", b"end"]),
        (3, [b"two", b"three", b"end"]),
        (9, [b"one", b"two", b"three", b"end"]),
    ],
)
def test_the_last_lines_are_counted_after_joining(tmp_path: Path, tail: int | None, expected: list[bytes]) -> None:
    path = tmp_path / "0.log"
    path.write_text(
        entry("one") + entry("t", tag="P") + entry("wo") + entry("thr", tag="P") + entry("ee") + entry("end", tag="P")
    )
    assert texts(list(read_lines(path, tail=tail))) == expected


def test_the_tail_of_a_large_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(entry(f"{number:05d} " + "x" * 200) for number in range(5000)))
    for tail in (1, 300, 301, 4999, 5000, 5001):
        numbers = [int(line.text[:5]) for line in read_lines(path, tail=tail)]
        assert numbers == list(range(max(0, 5000 - tail), 5000))


def test_lines_before_a_time_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(entry(str(second), second) for second in range(5)))
    since = parse_time("2026-01-02T03:04:03.000000005Z")
    assert texts(list(read_lines(path, since=since))) == [b"3", b"4"]
    assert texts(list(read_lines(path, since=since + 1))) == [b"4"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "none.log")) == []


def test_the_log_of_the_attempt_before(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    assert previous(tmp_path / "1.log") == tmp_path / "0.log"
    for path in ("0.log", "5.log", "other"):
        with pytest.raises(NotFound, match="the container was not started again"):
            previous(tmp_path / path)


class Followed:
    """A log that is followed: each step writes, then waits for the lines that must come."""

    def __init__(self, paths: dict[str, Path], **more: Any) -> None:
        self.over: set[str] = set()
        self.lines: AsyncIterator[LogLine] = follow(paths, ended=self._ended, **more)

    async def _ended(self, name: str) -> bool:
        return name in self.over

    async def next(self, count: int) -> list[tuple[str, bytes]]:
        found = []
        for _ in range(count):
            line = await asyncio.wait_for(anext(self.lines), 10)
            found.append((line.source, line.text))
        return found

    async def rest(self) -> list[bytes]:
        return [line.text async for line in self.lines]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_a_log_is_followed_until_its_container_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, entry("old") + entry("one"))
    followed = Followed({"main": path}, tail=1)
    assert await followed.next(1) == [("main", b"one")]
    append(path, entry("two"))
    assert await followed.next(1) == [("main", b"two")]
    append(path, entry("three") + entry("with no end", tag="P"))
    followed.over.add("main")
    assert await followed.rest() == [b"three", b"with no end"]


async def test_a_log_is_followed_across_rotation_without_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, entry("1"))
    followed = Followed({"main": path})
    assert await followed.next(1) == [("main", b"1")]
    writer = path.open("a")
    path.rename(tmp_path / "0.log.20260102-030405")
    writer.write(entry("2 after the rename"))
    writer.flush()
    assert await followed.next(1) == [("main", b"2 after the rename")]
    writer.write(entry("3 before the new file"))
    writer.close()
    append(path, entry("4"))
    assert await followed.next(2) == [("main", b"3 before the new file"), ("main", b"4")]
    path.rename(tmp_path / "0.log.20260102-030406")
    append(path, entry("5"))
    assert await followed.next(1) == [("main", b"5")]
    followed.over.add("main")
    assert await followed.rest() == []


async def test_a_line_in_parts_survives_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, entry("first") + entry("a", tag="P"))
    followed = Followed({"main": path})
    assert await followed.next(1) == [("main", b"first")]
    path.rename(tmp_path / "0.log.old")
    append(path, entry("b"))
    assert await followed.next(1) == [("main", b"ab")]


async def test_a_truncated_log_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, entry("a long line before"))
    followed = Followed({"main": path})
    await followed.next(1)
    path.write_text(entry("new"))
    assert await followed.next(1) == [("main", b"new")]


async def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    append(tmp_path / "a.log", entry("1"))
    followed = Followed({"a": tmp_path / "a.log", "b": tmp_path / "b.log"}, tail=1)
    assert await followed.next(1) == [("a", b"1")]
    append(tmp_path / "b.log", entry("2") + entry("3"))
    assert await followed.next(2) == [("b", b"2"), ("b", b"3")]


async def test_several_logs_come_as_their_lines_arrive(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.log" for name in ("a", "b")}
    followed = Followed(paths)
    for name, text in [("a", "1"), ("b", "2"), ("a", "3")]:
        append(paths[name], entry(text))
        assert await followed.next(1) == [(name, text.encode())]
    followed.over.add("a")
    append(paths["b"], entry("4"))
    assert await followed.next(1) == [("b", b"4")]
    followed.over.add("b")
    assert await followed.rest() == []


async def test_without_an_end_to_wait_for_it_stops_at_the_end_of_the_logs(tmp_path: Path) -> None:
    append(tmp_path / "0.log", entry("1") + entry("2", tag="P"))
    found = [line.text async for line in follow({"main": tmp_path / "0.log", "none": tmp_path / "none"})]
    assert found == [b"1", b"2"]


async def test_a_pods_logs_end_with_its_containers(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = await engine.run(make_pod("", "- {name: a, image: 'busybox:1'}\n- {name: b, image: 'busybox:1'}"))
    for view in pod.containers:
        assert view.log_path is not None
        append(view.log_path, entry(f"from {view.name}"))
        runtime.end(runtime.container(view.name), 0)
    lines = [line async for line in engine.logs(pod, following=True)]
    assert sorted((line.source, line.text) for line in lines) == [("a", b"from a"), ("b", b"from b")]
    assert [line.source async for line in engine.logs(pod, ["b"])] == ["b"]
    with pytest.raises(NotFound, match="no container 'c'"):
        await anext(engine.logs(pod, ["c"]))


async def test_a_containers_log_of_the_attempt_before(runtime: Any, engine: PodEngine, make_pod: MakePod) -> None:
    pod = await engine.run(make_pod("", "- {name: a, image: 'busybox:1'}"))
    path = log_of(pod, "a")
    assert path.name == "0.log"
    with pytest.raises(NotFound, match="no log of an attempt before"):
        log_of(pod, "a", before=True)
    with pytest.raises(InvalidArgument):
        await anext(engine.logs(pod, following=True, before=True))

    # The attempt before is known as a container, or only by its log once that is gone.
    (first,) = pod.containers
    second = dataclasses.replace(first, log_path=path.with_name("1.log"), restarts=1)
    append(path, entry("first"))
    for earlier in ((first,), ()):
        later = dataclasses.replace(pod, containers=(second,), earlier=earlier)
        assert [line.text async for line in engine.logs(later, before=True)] == [b"first"]
        assert log_of(later, "a").name == "1.log"
