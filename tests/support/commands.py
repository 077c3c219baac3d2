"""podyard's command line as a person has it: with pipes, or in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.patience import PATIENCE

LIMIT = 30.0 * PATIENCE
PODYARD = [sys.executable, "-m", "podyard"]

Run = Callable[..., subprocess.CompletedProcess[bytes]]
"""A command with pipes, in a folder of its own; ``stdin``: bytes."""


class Terminal:
    """A command in a pseudo-terminal. ``slave`` stays open here, so that its mode can be looked at afterwards."""

    def __init__(self, environment: dict[str, str], *arguments: str, rows: int = 40, columns: int = 120) -> None:
        self.master, self.slave = os.openpty()
        self.size(rows, columns)
        self.mode = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [*PODYARD, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment,
            start_new_session=True,
        )

    def size(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.master, text)

    def signal(self, number: signal.Signals) -> None:
        """Send one to the command."""
        self.process.send_signal(number)

    def until(self, pattern: bytes) -> bytes:
        """What appears, up to something that matches."""
        found, deadline = b"", time.monotonic() + LIMIT
        while not re.search(pattern, found):
            readable, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert readable, f"{pattern!r} did not appear after {found!r}"
            found += os.read(self.master, 4096)
        return found

    def code(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(timeout=LIMIT)

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.slave) == self.mode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def terminal(environment: dict[str, str], *arguments: str) -> Iterator[Terminal]:
    found = Terminal(environment, *arguments)
    try:
        yield found
    finally:
        found.close()
