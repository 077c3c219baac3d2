"""This end's terminal while a session lasts: raw mode, its size, the keys that detach, the signals that end it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podyard.errors import InvalidArgument

DETACH_KEYS = "ctrl-p,ctrl-q"

_CONTROL = re.compile(r"ctrl-([a-z@\[\\\]^_])")
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def parse_keys(text: str) -> bytes:
    """The bytes of keys such as "ctrl-p,ctrl-q" or "ctrl-a,d"; "" means none. Raises InvalidArgument."""
    found = b""
    for key in text.split(",") if text else []:
        if control := _CONTROL.fullmatch(key.lower()):
            found += bytes((ord(control[1].upper()) & 0x1F,))
        elif len(key) == 1 and key.isascii() and key.isprintable():
            found += key.encode()
        else:
            raise InvalidArgument(
                f"--detach-keys {text!r}: {key!r} is no key; write letters and ctrl-LETTER, with commas between"
            )
    return found


class DetachKeys:
    """Finds a sequence of keys in what is typed, however it is cut into pieces."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """What of ``data`` is to be passed on. The beginning of the sequence waits for what follows it.

        ``detached`` is True once the sequence was typed; what comes after it is dropped.
        """
        if not self._sequence:
            return data
        passed = bytearray()
        for byte in data:
            held = self._sequence[: self._matched] + bytes((byte,))
            while not self._sequence.startswith(held):
                passed.append(held[0])
                held = held[1:]
            self._matched = len(held)
            if held == self._sequence:
                self.detached = True
                break
        return bytes(passed)


def window_size() -> tuple[int, int] | None:
    """Columns and rows of the terminal that this process has, on whichever of its streams; None without one."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        try:
            size = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            continue
        if size.columns and size.lines:
            return size.columns, size.lines
    return None


@contextmanager
def on_resize(changed: Callable[[], None]) -> Iterator[None]:
    """Call ``changed`` whenever the window gets another size. Within an event loop."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextmanager
def before_the_end(restore: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and SIGQUIT call ``restore`` before they end this process. Within an event loop.

    Where something else handles them, they do not end it: then that sees to it.
    """
    loop = asyncio.get_running_loop()
    handled = [number for number in (signal.SIGTERM, signal.SIGQUIT) if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: signal.Signals) -> None:
        restore()
        loop.remove_signal_handler(number)
        os.kill(os.getpid(), number)

    for number in handled:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


class RawTerminal:
    """Standard input's terminal in raw mode: every key, Ctrl-C too, goes to the process at the other end.

    A context manager within an event loop. The terminal gets its mode back when the block ends, when this process is
    stopped (and is raw again when it goes on), and when SIGTERM, SIGHUP or SIGQUIT end it; ``ended_by`` is then the
    signal, and the task that entered the block is cancelled.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before = termios.tcgetattr(fd)
        self.ended_by: signal.Signals | None = None

    def __enter__(self) -> RawTerminal:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        for number in _ENDING:
            loop.add_signal_handler(number, self._end, number, task)
        loop.add_signal_handler(signal.SIGTSTP, self._stop)
        self._make_raw()
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
        loop = asyncio.get_running_loop()
        for number in (*_ENDING, signal.SIGTSTP):
            loop.remove_signal_handler(number)

    def _make_raw(self) -> None:
        tty.setraw(self._fd, termios.TCSADRAIN)

    def _restore(self) -> None:
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        except termios.error:
            if os.isatty(self._fd):  # a terminal that was hung up has no mode to restore
                raise

    def _end(self, number: signal.Signals, task: asyncio.Task[object] | None) -> None:
        self.ended_by = number
        if task is not None:
            task.cancel()

    def _stop(self) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._make_raw()  # where it goes on after SIGCONT
