"""Log lines on standard output: whose they are, in colours on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from podyard.cli.output import printable

if TYPE_CHECKING:
    from podyard.pods import LogLine

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red", "bright_cyan", "bright_yellow")


class Printer:
    """Prints lines of the containers called ``names``; with whose they are, if ``prefixed``."""

    def __init__(self, names: Iterable[str] = (), *, prefixed: bool, timestamps: bool = False) -> None:
        self._prefixed = prefixed
        self._timestamps = timestamps
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._prefixes: dict[str, bytes] = {}
        self._names = [printable(name) for name in names]

    def line(self, line: LogLine, name: str) -> None:
        """One line of the container ``name``, as it was written."""
        content = line.content(timestamps=self._timestamps)
        if self._prefixed:
            content = self._prefix(name) + content.removesuffix(b"\n") + b"\n"
        sys.stdout.buffer.write(content)

    def flush(self) -> None:
        """Whoever follows wants each line now."""
        sys.stdout.buffer.flush()

    def _prefix(self, name: str) -> bytes:
        if name not in self._prefixes:
            width = max((len(one) for one in self._names), default=0)
            text = f"{printable(name):<{width}} |"
            if self._coloured:
                text = click.style(text, fg=COLOURS[len(self._prefixes) % len(COLOURS)])
            self._prefixes[name] = f"{text} ".encode()
        return self._prefixes[name]
