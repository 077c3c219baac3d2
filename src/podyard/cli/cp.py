"""``podyard cp``."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podyard.cli.converse import transport_option
from podyard.cli.endpoint import with_client
from podyard.cli.output import printable
from podyard.cli.pack import pack
from podyard.cli.places import Remote, parse_place
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings
from podyard.cli.standard import Input, Output
from podyard.cli.units import size
from podyard.cli.unpack import Place, unpack
from podyard.errors import (
    DataLoss,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PodyardError,
    Unavailable,
)

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.client.streams import Inbound, Outbound, Session, Transport

WORDS_LIMIT = 16 << 10
"""Bytes of what tar has to say that are kept."""
TEST_LIMIT = 20
"""Seconds for the question whether something is a directory."""


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--container", "-c", metavar="NAME", help="The container, where a Pod has several.")
@transport_option
@with_client
async def command(
    client: Client, settings: Settings, *, source: str, target: str, container: str | None, transport: Transport
) -> None:
    """Copy files and directories into a container or out of one.

    One of SOURCE and TARGET is CONTAINER:PATH, or POD:PATH; the other is a path here (write ./a:b for one with a
    colon). A TARGET that is a directory gets SOURCE put into it; any other is what the copy is called. "SOURCE/." means
    what is in the directory. The container needs the programs tar and, to copy into it, test.
    """
    origin, goal = parse_place(source), parse_place(target)
    if isinstance(origin, Remote) == isinstance(goal, Remote):
        raise InvalidArgument("one of the two is in a container and the other one here: CONTAINER:PATH and a path")
    inventory = await Inventory.load(client)
    copying = Copying(client, transport, Progress())
    try:
        if isinstance(origin, Remote):
            assert isinstance(goal, Path)
            container_id = inventory.one_container(origin.name, container).container.id
            notes = await copying.fetch(container_id, origin, goal, into=target.endswith("/"))
        else:
            assert isinstance(goal, Remote)
            container_id = inventory.one_container(goal.name, container).container.id
            notes = await copying.put(container_id, origin, goal, contents=source.endswith("/.") or source == ".")
    finally:
        copying.progress.end()
    for note in notes:
        print(f"podyard: {note}", file=sys.stderr)


class Progress:
    """How much was copied, on a terminal."""

    INTERVAL = 0.1

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._began = self._last = time.monotonic()
        self._count = 0

    def add(self, count: int) -> None:
        """Bytes have gone over."""
        self._count += count
        if self._shown and time.monotonic() - self._last >= self.INTERVAL:
            self._draw()

    def end(self) -> None:
        """Leave the last state."""
        if self._shown and self._count:
            self._draw()
            print(file=sys.stderr)

    def _draw(self) -> None:
        self._last = time.monotonic()
        rate = self._count / max(self._last - self._began, 0.001)
        print(f"\r\x1b[Kcopied {size(self._count)}, {size(int(rate))}/s", end="", file=sys.stderr, flush=True)


class Copying:
    """Copies through tar in the container: an archive over the standard streams of a session."""

    def __init__(self, client: Client, transport: Transport, progress: Progress) -> None:
        self._client = client
        self._transport = transport
        self.progress = progress

    async def fetch(self, container_id: str, origin: Remote, goal: Path, *, into: bool) -> list[str]:
        """Out of a container; what was left out. ``into``: the goal must be a directory.

        Raises NotFound for what is not there, FailedPrecondition where a path or the container does not fit, DataLoss
        for an archive that is damaged or names what was not asked for.
        """
        folder, prefix = _local_goal(origin, goal, into=into)
        wanted = "." if origin.contents else f"./{origin.last}"

        def place(parts: list[str]) -> list[str]:
            if origin.contents:
                return prefix + parts
            if parts[:1] != [origin.last]:
                raise DataLoss(f"the archive from the container has {printable('/'.join(parts))!r}, not {origin.path}")
            return prefix + parts[1:]

        command = ["tar", "cf", "-", "-C", origin.folder, wanted]
        async with (
            self._client.runtime.exec(container_id, command, transport=self._transport) as session,
            _words(session.stderr) as words,
        ):
            try:
                left_out = await self._unpack(session.stdout, folder, place)
            except DataLoss:
                if session.stdout.ended:  # too early, perhaps, and tar tells why
                    await _check(session, words)
                raise
            await _check(session, words)
        return left_out

    async def put(self, container_id: str, origin: Path, goal: Remote, *, contents: bool) -> list[str]:
        """Into a container; what was left out. ``contents``: of the directory, rather than the directory.

        Raises NotFound and FailedPrecondition as ``fetch`` does.
        """
        if not os.path.lexists(origin):
            raise NotFound(f"{origin} is not there")
        if contents and not origin.is_dir():
            raise InvalidArgument(f"{origin} is no directory: it has no contents to copy")
        inside = await self._is_directory(container_id, goal.path)
        if goal.path.endswith("/") and not inside and not origin.is_dir():
            raise NotFound(f"{goal.path} is no directory in the container")
        name = "" if contents else (origin.resolve() if origin.name in {"", ".."} else origin).name
        folder = goal.path
        if not inside:
            folder, name = goal.folder, goal.last
        command = ["tar", "xf", "-", "-C", folder]
        async with (
            self._client.runtime.exec(container_id, command, stdin=True, transport=self._transport) as session,
            _words(session.stdout, session.stderr) as words,
        ):
            left_out = await self._pack(session.stdin, origin, name)
            await _check(session, words)
        return left_out

    async def _is_directory(self, container_id: str, path: str) -> bool:
        try:
            answer = await self._client.runtime.exec_sync(container_id, ["test", "-d", path], TEST_LIMIT)
        except PodyardError as error:
            raise _lacking(error) from error
        return answer.exit_code == 0

    async def _unpack(self, archive: Inbound, folder: Path, place: Place) -> list[str]:
        read_end, write_end = os.pipe()
        unpacking = asyncio.create_task(asyncio.to_thread(unpack, read_end, folder, place))
        try:
            async with Output(write_end) as pipe:
                async for piece in archive:
                    await pipe.write(piece)
                    self.progress.add(len(piece))
        except BrokenPipeError:
            pass  # the unpacking has ended, and tells why
        finally:
            os.close(write_end)
            (unpacked,) = await asyncio.gather(unpacking, return_exceptions=True)
        if isinstance(unpacked, BaseException):
            raise unpacked
        return unpacked

    async def _pack(self, archive: Outbound, origin: Path, name: str) -> list[str]:
        read_end, write_end = os.pipe()
        packing = asyncio.create_task(asyncio.to_thread(pack, origin, name, write_end))
        try:
            async with Input(read_end) as pipe:
                while piece := await pipe.read():
                    await archive.write(piece)
                    self.progress.add(len(piece))
        except (FailedPrecondition, Unavailable):
            pass  # tar has ended, and tells why
        finally:
            os.close(read_end)
            (packed,) = await asyncio.gather(packing, return_exceptions=True)
        if isinstance(packed, BrokenPipeError):
            return []
        if isinstance(packed, OSError):
            raise FailedPrecondition(f"cannot read what to copy: {packed}") from packed
        if isinstance(packed, BaseException):
            raise packed
        await archive.close()
        return packed


def _local_goal(origin: Remote, goal: Path, *, into: bool) -> tuple[Path, list[str]]:
    """The directory here to unpack in, and what the names of the copy begin with there."""
    if goal.is_dir():
        return goal, [] if origin.contents else [origin.last]
    if into:
        raise NotFound(f"{goal} is no directory here")
    parent = goal.absolute().parent
    if not parent.is_dir():
        raise NotFound(f"{parent} is no directory here: make it first")
    return parent, [goal.name]


@asynccontextmanager
async def _words(*channels: Inbound) -> AsyncIterator[asyncio.Task[str]]:
    """What tar has to say, listened to while the block lasts: it would be held up otherwise."""
    listening = asyncio.create_task(_listen(channels))
    try:
        yield listening
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(channels: Sequence[Inbound]) -> str:
    found = bytearray()
    for channel in channels:
        async for piece in channel:
            found += piece[: max(0, WORDS_LIMIT - len(found))]
    return printable(" ".join(found.decode(errors="replace").split()))


async def _check(session: Session, words: asyncio.Task[str]) -> None:
    """Raises what tar says where it failed."""
    try:
        code = await session.wait()
    except Internal as error:
        raise _lacking(error) from error
    said = await words
    if code:
        kind = NotFound if "No such file" in said else FailedPrecondition
        raise kind(f"tar in the container failed with exit code {code}: {said or 'it does not say why'}")


def _lacking(error: PodyardError) -> PodyardError:
    if "not found" in str(error) or "no such file" in str(error).lower():
        return FailedPrecondition(f"copying needs the programs tar and test in the container: {error}")
    return error
