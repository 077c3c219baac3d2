"""Keys that detach, and the terminal's mode."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podyard.cli.terminal import DetachKeys, RawTerminal, parse_keys
from podyard.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("CTRL-A,d", b"\x01d"), ("ctrl-@,ctrl-[,ctrl-_", b"\0\x1b\x1f"), ("", b"")],
)
def test_keys_are_the_bytes_that_a_terminal_sends(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "ctrl-p,,q", "é", "alt-x"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidArgument, match="detach-keys"):
        parse_keys(text)


@pytest.mark.parametrize(
    ("pieces", "passed", "detached"),
    [
        ([b"a\x10\x11b"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10"], b"", False),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_the_sequence_is_found_however_it_is_cut(pieces: list[bytes], passed: bytes, detached: bool) -> None:
    keys = DetachKeys(b"\x10\x11")
    assert (b"".join(keys.feed(piece) for piece in pieces), keys.detached) == (passed, detached)


@given(st.lists(st.text("ab", max_size=6)), st.text("ab", min_size=1, max_size=4))
def test_everything_before_the_sequence_is_passed_on(pieces: list[str], sequence: str) -> None:
    keys = DetachKeys(sequence.encode())
    passed = b"".join(keys.feed(piece.encode()) for piece in pieces if not keys.detached).decode()
    typed = "".join(pieces)
    assert keys.detached == (sequence in typed)
    if keys.detached:
        assert passed == typed[: typed.index(sequence)]
    else:
        assert typed.startswith(passed)
        assert sequence.startswith(typed[len(passed) :])


def test_without_a_sequence_nothing_detaches() -> None:
    keys = DetachKeys(b"")
    assert keys.feed(b"\x10\x11") == b"\x10\x11"
    assert not keys.detached


@pytest.fixture
def slave() -> Iterator[int]:
    master, slave = os.openpty()
    yield slave
    os.close(master)
    os.close(slave)


async def test_the_mode_comes_back_after_an_error(slave: int) -> None:
    before = termios.tcgetattr(slave)
    with pytest.raises(ZeroDivisionError), RawTerminal(slave):
        assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        raise ZeroDivisionError
    assert termios.tcgetattr(slave) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
async def test_a_signal_cancels_what_is_done_in_the_block_and_the_mode_comes_back(
    slave: int, number: signal.Signals
) -> None:
    before = termios.tcgetattr(slave)
    raw = RawTerminal(slave)

    async def work() -> None:
        with raw:
            os.kill(os.getpid(), number)
            await asyncio.sleep(20)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())
    assert raw.ended_by is number
    assert termios.tcgetattr(slave) == before
