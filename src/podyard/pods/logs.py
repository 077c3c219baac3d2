"""Container logs: read, and followed across rotation and truncation.

Times and lines as in ``loglines``. Files are read in small pieces, so a large log neither fills the memory nor holds
up whatever else goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from podyard.errors import NotFound
from podyard.pods.loglines import MAX_LINE, LineParser, LogLine
from podyard.pods.views import PodView

POLL = 0.1
"""Seconds between two looks at a log that is followed."""
ENDED_POLL = 0.5
"""Seconds between two questions whether its container has ended."""
_PIECE = 64 * 1024

Ended = Callable[[str], Awaitable[bool]]
"""Whether nothing more will be written to the log of that name."""


def log_of(pod: PodView, name: str, *, before: bool = False) -> Path:
    """The log of a Pod's container; with ``before`` that of the attempt before its newest one.

    Raises NotFound for a container that the Pod does not have, or that has no such log.
    """
    view = next((view for view in pod.containers if view.name == name), None)
    earlier = next((one for one in pod.earlier if one.name == name), None) if before else None
    path = view.log_path if view is not None else None
    if path is None:
        raise NotFound(f"pod {pod.full_name} has no container {name!r} with a log")
    if not before:
        return path
    # What is not there any more as a container may have left its log, under the name that the kubelet's scheme has.
    return earlier.log_path if earlier is not None and earlier.log_path is not None else previous(path)


def previous(path: Path) -> Path:
    """The log of the attempt before the one whose log is at ``path``.

    Raises NotFound when there is none.
    """
    number = path.name.removesuffix(".log")
    before = path.with_name(f"{int(number) - 1}.log") if number.isdigit() and int(number) > 0 else None
    if before is None or not before.exists():
        raise NotFound(f"there is no log of an attempt before {path}: the container was not started again")
    return before


def read_lines(path: Path, *, source: str = "", tail: int | None = None, since: int | None = None) -> Iterator[LogLine]:
    """The lines of a log as it is now: all, the last ``tail``, or those from ``since`` (nanoseconds since 1970) on.

    A log that is not there has no lines.
    """
    reader = _Reader(source, path)
    try:
        if reader.open(tail):
            while data := reader.read():
                yield from _since(reader.parser.feed(data), since)
            yield from _since(reader.parser.finish(), since)
    finally:
        reader.close()


async def follow(
    paths: Mapping[str, Path], *, ended: Ended | None = None, tail: int | None = None, since: int | None = None
) -> AsyncGenerator[LogLine, None]:
    """The lines of several logs, by the name of each, as they arrive; ``tail`` and ``since`` as for ``read_lines``.

    Without ``ended`` it stops at the end of the logs. With it, a log is followed until it has ended and is read to its
    end; a log that is not there yet is waited for.
    """
    readers = [_Reader(name, path) for name, path in paths.items()]
    asked = {reader.source: 0.0 for reader in readers}
    loop = asyncio.get_running_loop()
    try:
        for reader in readers:
            reader.open(tail)
        while readers:
            arrived = False
            for reader in list(readers):
                data = reader.read_on() if reader.is_open or reader.open(None) else b""
                for line in _since(reader.parser.feed(data), since):
                    yield line
                if data:
                    arrived = True
                elif reader.closing or ended is None:
                    for line in _since(reader.parser.finish(), since):
                        yield line
                    reader.close()
                    readers.remove(reader)
                elif loop.time() - asked[reader.source] >= ENDED_POLL:
                    asked[reader.source] = loop.time()
                    # What was written before its end may not have been read: once more, then it is done.
                    reader.closing = await ended(reader.source)
            await asyncio.sleep(0 if arrived else POLL)
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """One log: the file being read, and its successor when it is rotated."""

    def __init__(self, source: str, path: Path) -> None:
        self.source = source
        self.parser = LineParser(source)
        self.closing = False
        self._path = path
        self._file: BinaryIO | None = None
        self._rotated = False

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self, tail: int | None) -> bool:
        """Open the log, if it is there, at the last ``tail`` lines."""
        try:
            self._file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        if tail is not None:
            self._file.seek(_start_of_tail(self._file, tail))
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def read(self) -> bytes:
        """The next piece; b"" at the end."""
        assert self._file is not None
        return self._file.read(_PIECE)

    def read_on(self) -> bytes:
        """The next piece of the log, whatever file it is in by now; b"" when there is none yet."""
        assert self._file is not None
        data = self.read()
        if data:
            return data
        if self._rotated:
            # The writer may have had the old file a moment longer than the new one existed; it has not any more.
            self._rotated = False
            self.close()
            return self.read() if self.open(None) else b""
        here = os.fstat(self._file.fileno())
        if here.st_size < self._file.tell():
            self._file.seek(0)  # truncated: what is there now is new
            return self.read()
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return b""  # renamed, and the new one is not there yet; or removed
        self._rotated = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        if self._rotated:
            self.closing = False
        return b""


def _since(lines: Iterator[LogLine], since: int | None) -> Iterator[LogLine]:
    return lines if since is None else (line for line in lines if line.nanoseconds >= since)


def _start_of_tail(file: BinaryIO, count: int) -> int:
    """Where the last ``count`` lines of output begin. One in parts counts once, an unfinished one at the end too."""
    size = start = file.seek(0, os.SEEK_END)
    if count <= 0:
        return size
    found = 0
    for begin, raw in _backwards(file, size):
        if begin == size:
            continue  # nothing, after the last newline
        if found == 0 or _ends_a_line(raw):
            if found == count:
                return start
            found += 1
        start = begin
    return start


def _backwards(file: BinaryIO, position: int) -> Iterator[tuple[int, bytes]]:
    """The raw lines before ``position``, the last first, each with where it begins. Stops at one that is too long."""
    rest = b""
    while position > 0:
        step = min(_PIECE, position)
        position = file.seek(position - step)
        data = _read_fully(file, step) + rest
        rest, *lines = data.split(b"\n")
        end = position + len(data)
        for raw in reversed(lines):
            yield end - len(raw), raw
            end -= len(raw) + 1
        if len(rest) > MAX_LINE:
            break
    yield position, rest


def _read_fully(file: BinaryIO, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def _ends_a_line(raw: bytes) -> bool:
    fields = raw.split(b" ", 3)
    return len(fields) < 4 or not fields[2].startswith(b"P")
