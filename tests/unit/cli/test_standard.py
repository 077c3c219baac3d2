"""Standard streams beside an event loop."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from podyard.cli.standard import Input, Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # the test has closed it


async def test_what_is_written_is_read_up_to_the_end(pipe: tuple[int, int]) -> None:
    content = os.urandom(1_000_000)

    async def write() -> None:
        async with Output(pipe[1]) as output:
            await output.write(content)
        os.close(pipe[1])

    found = b""
    async with asyncio.timeout(20), Input(pipe[0]) as reader:
        writing = asyncio.create_task(write())
        while piece := await reader.read():
            found += piece
        await writing
    assert found == content


async def test_files_are_read_and_written_too(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"content")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        async with Input(source.fileno()) as reader, Output(target.fileno()) as writer:
            await writer.write(await reader.read())
            assert await reader.read() == b""
    assert (tmp_path / "out").read_bytes() == b"content"


async def test_waiting_ends_when_the_block_is_left(pipe: tuple[int, int]) -> None:
    async with asyncio.timeout(20):
        async with Input(pipe[0]) as reader:
            reading = asyncio.create_task(reader.read())
            await asyncio.sleep(0.05)
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with Output(pipe[1]) as writer:
            writing = asyncio.create_task(writer.write(bytes(10_000_000)))
            await asyncio.sleep(0.05)
            writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert os.get_blocking(pipe[0])
    assert os.get_blocking(pipe[1])


async def test_a_reader_who_has_gone_breaks_the_pipe(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    async with Output(pipe[1]) as writer:
        with pytest.raises(BrokenPipeError):
            await writer.write(b"x")


async def test_a_terminal_that_is_hung_up_has_ended() -> None:
    master, slave = os.openpty()
    os.close(master)
    async with Input(slave) as reader:
        assert await reader.read() == b""
    os.close(slave)


async def test_a_terminal_that_nobody_reads_does_not_hold_up_the_end() -> None:
    master, slave = os.openpty()
    try:
        async with asyncio.timeout(20), Output(slave) as writer:
            writing = asyncio.create_task(writer.write(b"y\n" * 1_000_000))
            before = -1
            while before != (before := _waiting(master)) or not before:
                await asyncio.sleep(0.1)
            writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert os.get_blocking(slave)
    finally:
        os.close(master)
        os.close(slave)


async def test_a_terminal_gets_all_that_is_written() -> None:
    master, slave = os.openpty()
    content = b"".join(b"%d\n" % number for number in range(50_000))
    expected = content.replace(b"\n", b"\r\n")
    try:
        async with asyncio.timeout(20), Output(slave) as writer, Input(master) as reader:
            writing = asyncio.create_task(writer.write(content))
            found = b""
            while len(found) < len(expected):
                found += await reader.read()
            await writing
        assert found == expected
    finally:
        os.close(master)
        os.close(slave)


def _waiting(terminal: int) -> int:
    """Bytes that wait to be read."""
    (count,) = struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, bytes(4)))
    return int(count)
