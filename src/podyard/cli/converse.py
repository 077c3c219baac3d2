"""This process' standard streams joined to a session's: what exec and attach have in common."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from podyard.cli.standard import Input, Output
from podyard.cli.terminal import DETACH_KEYS, DetachKeys, RawTerminal, on_resize, window_size
from podyard.errors import FailedPrecondition, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from podyard.client.streams import Inbound, Session

Function = TypeVar("Function", bound=Callable[..., Any])

STDIN, STDOUT, STDERR = 0, 1, 2
TRANSPORTS = ("auto", "spdy", "websocket")


def transport_option(function: Function) -> Function:
    """Add the option that says what is spoken to the streaming server."""
    return click.option(
        "--transport",
        type=click.Choice(TRANSPORTS),
        default="auto",
        help="What to stream over (auto: SPDY, else WebSocket).",
    )(function)


def session_options(function: Function) -> Function:
    """Add the options that exec and attach share: stdin, tty, detach_keys, transport."""
    for option in (
        transport_option,
        click.option(
            "--detach-keys",
            metavar="KEYS",
            default=DETACH_KEYS,
            show_default=True,
            help='With -it: what to type to leave. "" for nothing.',
        ),
        click.option("--tty", "-t", is_flag=True, help="Use a terminal."),
        click.option("--stdin", "-i", is_flag=True, help="Pass standard input on."),
    ):
        function = option(function)
    return function


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """Raises InvalidArgument for -it where standard input is no terminal."""
    if stdin and tty and not os.isatty(STDIN):
        raise InvalidArgument(
            "-t with -i needs a terminal, and standard input is none: leave -t out to pass a pipe or a file on"
        )


async def converse(session: Session, *, stdin: bool, tty: bool, keys: bytes) -> int | None:
    """Pass everything on, both ways, until all output has come: None. Or an exit code: this end's terminal left sooner.

    ``keys``: what detaches, in a terminal with ``stdin`` and ``tty``. Raises BrokenPipeError when standard output is
    read no more, and Unavailable when the session breaks.
    """
    sys.stdout.flush()
    raw = RawTerminal(STDIN) if stdin and tty else None
    detach = DetachKeys(keys if raw is not None else b"")
    try:
        with raw or nullcontext():
            async with _sized(session) if tty else nullcontext():
                await _pass_on(session, stdin, detach)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if raw is None or raw.ended_by is None or task is None:
            raise
        task.uncancel()
        return 128 + raw.ended_by
    return 0 if detach.detached else None


async def _pass_on(session: Session, stdin: bool, detach: DetachKeys) -> None:
    async with Input(STDIN) as typed, Output(STDOUT) as out, Output(STDERR) as err:
        showing = {
            asyncio.create_task(_show(session.stdout, out)),
            asyncio.create_task(_show(session.stderr, err)),
        }
        feeding = {asyncio.create_task(_feed(typed, session, detach))} if stdin else set()
        waiting = showing | feeding
        try:
            while waiting & showing and not detach.detached:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await _cancel(showing | feeding)


async def _show(channel: Inbound, output: Output) -> None:
    async for piece in channel:
        await output.write(piece)


async def _feed(typed: Input, session: Session, detach: DetachKeys) -> None:
    try:
        while data := await typed.read():
            if passed := detach.feed(data):
                await session.stdin.write(passed)
            if detach.detached:
                return
        await session.stdin.close()
    except (FailedPrecondition, Unavailable):
        return  # the process takes no more, or the session is over: how it ended is told by its output and its status


@asynccontextmanager
async def _sized(session: Session) -> AsyncIterator[None]:
    """Keep the process' terminal as large as this one."""
    changed = asyncio.Event()
    changed.set()

    async def tell() -> None:
        while True:
            await changed.wait()
            changed.clear()
            if size := window_size():
                await session.resize(*size)

    task = asyncio.create_task(tell())
    with on_resize(changed.set):
        try:
            yield
        finally:
            await _cancel({task})


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
