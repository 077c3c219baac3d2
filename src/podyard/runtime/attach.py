"""Attach: a client's streams on a container's own input and output, which its monitor holds."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from podyard.errors import Cancelled, FailedPrecondition, PodyardError, ResourceExhausted
from podyard.oci import monitor
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry
from podyard.streaming import Descriptor, Streams
from podyard.streaming.session import Channel
from podyard.wire.remotecommand import Status

BACKLOG = 512
"""Packets, of some 8 KiB at most, that may wait for a client."""
STALL = 10.0
"""Seconds that a client with a full backlog may take nothing: the monitor, and so the container, waits for it."""

_parked: set[asyncio.Task[bool]] = set()


def check_may_attach(entry: ContainerEntry) -> None:
    """Raise FailedPrecondition, naming the state, unless the container has a monitor to attach to."""
    if entry.record.state not in {"created", "running"}:
        raise FailedPrecondition(
            f"container {entry.record.id[:12]} is {entry.record.state}: nobody holds its input and output any more"
        )


async def run(context: Context, container_id: str, streams: Streams) -> Status:
    """Carry bytes until the container ends, then success; cancelled, the container is left alone.

    Raises FailedPrecondition when its monitor does not listen, ResourceExhausted when the client takes no output for
    too long: others, and the container, would have to wait for it.
    """
    entry = context.store.container(container_id)
    check_may_attach(entry)
    bundle = context.paths.bundle(entry.record.id)
    stream = Descriptor((await monitor.attach(bundle)).detach())
    # The size comes first: what the client has typed meanwhile may ask for it.
    others = [asyncio.create_task(_resize(context, entry, streams))] if entry.config.tty else []
    others.append(asyncio.create_task(_carry_input(streams.stdin, stream, accepts=entry.config.stdin)))
    try:
        await _carry_output(stream, streams)
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if streams.stdin is None and entry.config.stdin_once:
            _park(entry, stream)
        else:
            stream.close()
    return Status()


def _park(entry: ContainerEntry, stream: Descriptor) -> None:
    """Keep a connection without reading from it until the container ends.

    conmon takes the end of any connection for the end of an input that is for one client only, also where it was not
    this client's.
    """
    stream.shut_down(socket.SHUT_RD)
    waiting = asyncio.create_task(entry.ended.wait())
    _parked.add(waiting)

    def over(task: asyncio.Task[bool]) -> None:
        _parked.discard(task)
        stream.close()

    waiting.add_done_callback(over)


async def _carry_output(stream: Descriptor, streams: Streams) -> None:
    """Take packets from the monitor as they come, and give them to the client as it takes them."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
    giving = asyncio.create_task(_give(queue, {monitor.STDOUT: streams.stdout, monitor.STDERR: streams.stderr}))
    try:
        while packet := await stream.read():
            if not queue.full():
                queue.put_nowait(packet)
                continue
            try:
                async with asyncio.timeout(STALL):
                    await queue.put(packet)
            except TimeoutError:
                raise ResourceExhausted(
                    f"detached: the client has taken no output for {STALL:g} s, and the container waits for it"
                ) from None
        await queue.put(b"")
        await giving
    finally:
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)


async def _give(queue: asyncio.Queue[bytes], channels: dict[int, Channel | None]) -> None:
    while packet := await queue.get():
        channel = channels.get(packet[0])
        if channel is not None:
            # A client may give up one of its streams and go on with the other.
            with contextlib.suppress(Cancelled):
                await channel.write(packet[1:])


async def _carry_input(channel: Channel | None, stream: Descriptor, *, accepts: bool) -> None:
    """The client's input to the monitor. ``accepts``: whether the container was made with an input."""
    if channel is None:
        return
    with contextlib.suppress(Cancelled, OSError):
        while data := await channel.read():
            if accepts:
                await stream.write(data, monitor.LARGEST_INPUT)
        # Where the container's input is for one client only, the monitor closes it now.
        stream.shut_down()


async def _resize(context: Context, entry: ContainerEntry, streams: Streams) -> None:
    with contextlib.suppress(Cancelled, PodyardError):
        async for size in streams.sizes():
            monitor.resize(context.paths.bundle(entry.record.id), size.width, size.height)
