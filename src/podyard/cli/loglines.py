"""Log lines on standard output: whose they are, in colours on a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from podyard.cli.output import printable
from podyard.cli.standard import Output

if TYPE_CHECKING:
    from podyard.pods import LogLine

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow")


WAITING = 256 << 10
"""Bytes of lines that may wait until they are written."""


class Printer:
    """Prints lines of the containers called ``names``; with whose they are, if ``prefixed``.

    Whoever reads them may be slow: it holds up nothing but the lines, and neither Ctrl-C nor what watches the Pods. An
    asynchronous context manager; all has been written at the end of its block, unless that fails.
    """

    def __init__(self, names: Iterable[str] = (), *, prefixed: bool, timestamps: bool = False) -> None:
        self._prefixed = prefixed
        self._timestamps = timestamps
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._prefixes: dict[str, bytes] = {}
        self._names = [printable(name) for name in names]
        self._lines = bytearray()
        self._writing: asyncio.Task[None] | None = None
        self._failed = False
        self._owner: asyncio.Task[Any] | None = None
        sys.stdout.flush()
        self._output = Output(sys.stdout.fileno())

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writing = self._writing
        try:
            if writing is not None and error is None:
                await writing
            elif writing is not None and self._failed and self._owner is not None:
                self._owner.uncancel()
                writing.result()
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await self._output.__aexit__(kind, error, trace)

    async def line(self, line: LogLine, name: str) -> None:
        """One line of the container ``name``, as it was written.

        When nobody reads any more, the block's task is cancelled, and the block ends with a BrokenPipeError.
        """
        content = line.content(timestamps=self._timestamps)
        if self._prefixed:
            content = self._prefix(name) + content.removesuffix(b"\n") + b"\n"
        self._lines += content
        if self._writing is None or (self._writing.done() and not self._failed):
            self._writing = asyncio.create_task(self._write())
        if len(self._lines) > WAITING:
            await self._writing

    async def _write(self) -> None:
        try:
            while self._lines:
                lines, self._lines = bytes(self._lines), bytearray()
                await self._output.write(lines)
        except OSError:
            # At once: the next line may come in an hour.
            self._failed = True
            if self._owner is not None:
                self._owner.cancel()
            raise

    def _prefix(self, name: str) -> bytes:
        if name not in self._prefixes:
            width = max((len(one) for one in self._names), default=0)
            text = f"{printable(name):<{width}} |"
            if self._coloured:
                text = click.style(text, fg=COLOURS[len(self._prefixes) % len(COLOURS)])
            self._prefixes[name] = f"{text} ".encode()
        return self._prefixes[name]
