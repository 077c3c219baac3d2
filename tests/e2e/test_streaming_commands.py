"""exec and attach as a person calls them: with pipes, and in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.support.commands import LIMIT, PODYARD, Run, Terminal, terminal
from tests.support.pods import Kit


async def running(kit: Kit, *command: str, **fields: object) -> str:
    return await kit.start(await kit.sandbox(), command or ("sleep", "1000"), **fields)


async def test_exec_passes_a_pipe_through_and_gives_the_exit_code(kit: Kit, run: Run) -> None:
    container_id = await running(kit)
    done = await asyncio.to_thread(run, "exec", "-i", container_id, "--", "cat", stdin=b"x\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x\n", b"")
    done = await asyncio.to_thread(run, "exec", container_id, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")


async def test_exec_passes_fifty_megabytes_from_file_to_file(
    kit: Kit, environment: dict[str, str], tmp_path: Path
) -> None:
    container_id = await running(kit)
    content = os.urandom(50_000_000)
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        process = await asyncio.create_subprocess_exec(
            *PODYARD, "exec", "-i", container_id, "cat", stdin=source, stdout=target, env=environment
        )
        async with asyncio.timeout(2 * LIMIT):
            assert await process.wait() == 0
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(content).digest()


async def test_a_reader_who_has_enough_ends_exec_quietly(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *PODYARD, "exec", container_id, "yes", stdout=write, stderr=subprocess.PIPE, env=environment
    )
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 2) == b"y\n"
    os.close(read)
    async with asyncio.timeout(LIMIT):
        _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def test_exec_without_standard_streams_of_its_own(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", f'exec "$@" {closed}', "sh", *PODYARD),
            *("exec", "-i", container_id, "sh", "-c", "cat; echo out; echo err >&2; exit 4"),
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        try:
            async with asyncio.timeout(LIMIT):
                assert await process.wait() == 4, closed
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def test_a_terminal_that_nobody_reads_does_not_hold_up_the_end(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)

    def end(number: signal.Signals, *options: str) -> int:
        with terminal(environment, "exec", *options, container_id, "yes") as flooded:
            flooded.until(rb"y\r\n")
            # It is full a moment later; nobody reads any more.
            time.sleep(0.5)
            flooded.signal(number)
            return flooded.code()

    assert await asyncio.to_thread(end, signal.SIGINT) == 130
    assert await asyncio.to_thread(end, signal.SIGTERM, "-it") == 143


async def test_a_terminal_without_one_is_refused(kit: Kit, run: Run) -> None:
    container_id = await running(kit)
    done = await asyncio.to_thread(run, "exec", "-it", container_id, "sh")
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr


async def test_a_shell_in_a_terminal(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)

    def talk() -> None:
        with terminal(environment, "exec", "-it", container_id, "--", "sh") as shell:
            shell.until(rb"# ")
            shell.type(b"until stty size | grep '40 120'; do sleep 0.1; done\r")
            shell.until(rb"\n40 120\r\n")
            shell.size(30, 90)
            shell.process.send_signal(signal.SIGWINCH)
            shell.type(b"while ! stty size | grep '30 90'; do sleep 0.1; done\r")
            shell.until(rb"\n30 90\r\n")
            shell.type(b"sh -c 'trap \"exit 3\" INT; echo up; while true; do sleep 0.1; done'; echo code $?\r")
            shell.until(rb"\nup\r\n")
            assert not shell.restored
            shell.type(b"\x03")
            shell.until(rb"code 3\r\n")
            shell.type(b"exit 5\r")
            assert shell.code() == 5
            assert shell.restored

    await asyncio.to_thread(talk)


async def test_signals_and_detach_keys_leave_the_terminal_as_it_was(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)

    def talk(options: Sequence[str], leave: Callable[[Terminal], None], code: int) -> None:
        with terminal(environment, "exec", "-it", *options, container_id, "--", "cat") as session:
            session.type(b"a\r")
            session.until(rb"a\r\na\r\n")
            assert not session.restored
            leave(session)
            assert (session.code(), session.restored) == (code, True)

    async with asyncio.TaskGroup() as group:
        for options, keys in (((), b"\x10\x11"), (("--detach-keys", "ctrl-a,d"), b"\x10\x01d")):
            group.create_task(asyncio.to_thread(talk, options, partial(Terminal.type, text=keys), 0))
        for number in (signal.SIGTERM, signal.SIGHUP):
            leave = partial(Terminal.signal, number=number)
            group.create_task(asyncio.to_thread(talk, (), leave, 128 + number))


async def test_without_a_terminal_ctrl_c_ends_the_session(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit)
    process = await asyncio.create_subprocess_exec(
        *PODYARD, "exec", container_id, "sh", "-c", "echo up; sleep 600", stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        assert await process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130


async def test_attach_in_a_terminal_and_detach(kit: Kit, environment: dict[str, str]) -> None:
    container_id = await running(kit, "sh", stdin=True, tty=True)

    def talk() -> None:
        for _ in range(2):
            with terminal(environment, "attach", "-it", container_id) as session:
                session.type(b"until stty size | grep '40 120'; do sleep 0.1; done; echo $((6 * 7))\r")
                session.until(rb"\n40 120\r\n42\r\n")
                session.type(b"\x10\x11")
                session.until(rb"goes on")
                assert session.code() == 0
                assert session.restored

    await asyncio.to_thread(talk)


async def test_attach_has_the_containers_exit_code(kit: Kit, run: Run) -> None:
    script = "read line; echo got $line; exit 6"
    container_id = await running(kit, "sh", "-c", script, stdin=True, stdin_once=True)
    done = await asyncio.to_thread(run, "attach", "-i", container_id, stdin=b"it\n")
    assert (done.returncode, done.stdout) == (6, b"got it\n")
    done = await asyncio.to_thread(run, "attach", container_id)
    assert done.returncode == 5
    assert b"podyard logs" in done.stderr


async def test_the_end_of_input_leaves_the_output_of_attach_alone(kit: Kit, run: Run) -> None:
    container_id = await running(kit, "sh", "-c", "read line; echo got $line; exit 6", stdin=True)
    done = await asyncio.to_thread(run, "attach", "-i", container_id, stdin=b"it\n")
    assert (done.returncode, done.stdout) == (6, b"got it\n")
