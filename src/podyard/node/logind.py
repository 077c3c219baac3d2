"""The machine's shutdown, as systemd-logind tells it (its D-Bus interface, "Inhibitor Locks").

It is reached by systemd's own tools, which are wherever logind is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from podyard.errors import FailedPrecondition, Unavailable

logger = logging.getLogger(__name__)

_NAME, _PATH, _MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
_SIGNAL = "PrepareForShutdown"
_MATCH = f"type='signal',interface='{_MANAGER}',member='{_SIGNAL}'"
TOOL_LIMIT = 10.0
"""Seconds in which a tool has answered, or has ended when it is to."""
_LONGEST_LINE = 1 << 16


async def longest_delay() -> float:
    """Seconds for which logind lets a shutdown wait. Raises FailedPrecondition where there is no logind to ask."""
    argv = ["busctl", "--system", "--json=short", "get-property", _NAME, _PATH, _MANAGER, "InhibitDelayMaxUSec"]
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise FailedPrecondition(f"a shutdown cannot be noticed: busctl cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(TOOL_LIMIT):
            out, err = await process.communicate()
    except TimeoutError:
        await _end(process)
        raise FailedPrecondition(f"a shutdown cannot be noticed: no answer within {TOOL_LIMIT:.0f} s") from None
    try:
        return float(json.loads(out)["data"]) / 1e6
    except (ValueError, TypeError, KeyError) as error:
        said = err.decode("utf-8", "replace").strip() or "no such figure"
        raise FailedPrecondition(f"a shutdown cannot be noticed: systemd-logind does not answer: {said}") from error


@asynccontextmanager
async def delayed(who: str, why: str) -> AsyncIterator[None]:
    """Let a shutdown wait while the block lasts, no longer than ``longest_delay``; the lock goes with the process, too.

    Raises Unavailable when it cannot be had.
    """
    argv = ["systemd-inhibit", "--what=shutdown", "--mode=delay", f"--who={who}", f"--why={why}"]
    # It has the lock once it has started the command, which ends when nobody has the other end of its input.
    process = await _started([*argv, "sh", "-c", "echo held; exec cat"], stdin=True)
    try:
        if await _line(process, TOOL_LIMIT) != b"held\n":
            raise Unavailable(f"systemd-inhibit gives no lock: {await _said(process)}")
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await _end(process)


async def shutdowns() -> AsyncGenerator[bool, None]:
    """True when a shutdown begins, False when it was called off. The first one is False, when all that follows is
    noticed.

    Raises Unavailable when nothing more can be heard.
    """
    # It would not notice that nobody reads it any more before the next shutdown.
    argv = ["setpriv", "--pdeathsig", "TERM", "busctl", "--system", "--json=short", "--match", _MATCH, "monitor"]
    process = await _started(argv, stdin=False)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(TOOL_LIMIT):
            while b"Monitoring" not in (line := await process.stderr.readline()):
                if not line:
                    raise Unavailable(f"busctl does not tell of shutdowns: {await _said(process)}")
        yield False
        while line := await _line(process, None):
            message = json.loads(line)
            if message.get("member") == _SIGNAL:
                yield bool(message["payload"]["data"][0])
        raise Unavailable("busctl ended, which tells of shutdowns: logind or the message bus was restarted")
    except TimeoutError:
        raise Unavailable(f"busctl does not tell of shutdowns within {TOOL_LIMIT:.0f} s") from None
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Unavailable(f"busctl tells what cannot be read: {error}") from error
    finally:
        await _end(process)


async def _started(argv: list[str], *, stdin: bool) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
    except OSError as error:
        raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from error


async def _line(process: asyncio.subprocess.Process, limit: float | None) -> bytes:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(limit):
            return await process.stdout.readline()
    except TimeoutError:
        raise Unavailable(f"a tool of systemd's says nothing for {limit} s") from None


async def _said(process: asyncio.subprocess.Process) -> str:
    """What a process wrote to standard error before it ended."""
    assert process.stderr is not None
    async with asyncio.timeout(TOOL_LIMIT):
        return (await process.stderr.read(_LONGEST_LINE)).decode("utf-8", "replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process that this one has started; it is killed when it does not end by itself."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(TOOL_LIMIT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
