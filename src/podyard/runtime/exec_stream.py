"""Exec: a command in a running container whose input and output are a client's streams."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from podyard.errors import Cancelled, Internal
from podyard.lifecycle import containers
from podyard.linux import process
from podyard.runtime import exec_process
from podyard.runtime.context import Context
from podyard.runtime.exec_process import Launch
from podyard.runtime.store import ContainerEntry
from podyard.streaming import Descriptor, Streams
from podyard.streaming.session import Channel
from podyard.wire.remotecommand import Status

MESSAGE_LIMIT = 65536
"""Bytes kept of what the OCI runtime says when it cannot start a command."""

KILLED = 137


@dataclass(frozen=True)
class _Ends:
    """This side's ends of a command's streams: three pipes, or a terminal that is all of them."""

    stdin: Descriptor
    stdout: Descriptor
    stderr: Descriptor | None

    @property
    def terminal(self) -> bool:
        return self.stdin is self.stdout

    def close(self) -> None:
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                end.close()


@dataclass(frozen=True)
class _Command:
    """A command that runs."""

    launch: Launch
    tool: subprocess.Popen[bytes]
    pid: int
    ends: _Ends


async def run(context: Context, container_id: str, cmd: Sequence[str], tty: bool, streams: Streams) -> Status:
    """Run a command until it ends; its exit code. Output of children that outlive it is not waited for.

    When the container ends, or this is cancelled, it is killed with all that belongs to it.

    Raises FailedPrecondition when the container does not run any more, Internal with the OCI runtime's words when the
    command cannot be started.
    """
    entry = context.store.container(container_id)
    containers.check_is_running(entry.record)
    with exec_process.prepared(context, entry, cmd, tty=tty) as launch, _listening(launch.console) as console:
        # An empty pipe, not /dev/null, where the client has no input: see exec_sync.
        tool = process.start(launch.argv, stdin=subprocess.PIPE)
        try:
            if console is None:
                command = await _with_pipes(launch, tool)
            else:
                command = await _with_terminal(launch, tool, console)
            try:
                return Status(await _attend(entry, command, streams))
            finally:
                command.ends.close()
        except BaseException:
            await exec_process.kill(launch, tool)
            raise


async def _with_pipes(launch: Launch, tool: subprocess.Popen[bytes]) -> _Command:
    """A command with pipes, once it runs."""
    stderr = _end(tool.stderr)
    ends = _Ends(_end(tool.stdin), _end(tool.stdout), stderr)
    try:
        pid = await exec_process.launched(launch, tool, lambda: stderr.read_now(MESSAGE_LIMIT))
    except BaseException:
        ends.close()
        raise
    return _Command(launch, tool, pid, ends)


async def _with_terminal(launch: Launch, tool: subprocess.Popen[bytes], console: socket.socket) -> _Command:
    """A command with a terminal, whose master side the OCI runtime sends to ``console``, once it runs."""
    ends = _Ends(_end(tool.stdin), _end(tool.stdout), _end(tool.stderr))
    try:
        assert ends.stderr is not None
        said = ends.stderr.read_now
        pid = await exec_process.launched(launch, tool, lambda: said(MESSAGE_LIMIT))
    finally:
        ends.close()
    # It was sent before the OCI runtime ended.
    try:
        connection, _ = console.accept()
        with connection:
            connection.setblocking(False)
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    except BlockingIOError:
        descriptors = []
    if not descriptors:
        raise Internal(f"the OCI runtime sent no terminal for {launch.program!r}")
    os.set_inheritable(descriptors[0], False)
    master = Descriptor(descriptors[0])
    return _Command(launch, tool, pid, _Ends(master, master, None))


async def _attend(entry: ContainerEntry, command: _Command, streams: Streams) -> int:
    """Carry bytes until the command has ended and the client has its output; its exit code."""
    ends = command.ends
    outputs = [asyncio.create_task(_carry_output(ends.stdout, streams.stdout, ends.terminal))]
    if ends.stderr is not None:
        outputs.append(asyncio.create_task(_carry_output(ends.stderr, streams.stderr, False)))
    # The size comes first: what the client has typed meanwhile may ask for it.
    others = [asyncio.create_task(_resize(ends.stdout, streams))] if ends.terminal else []
    others.append(asyncio.create_task(_carry_input(streams.stdin, ends)))
    try:
        code = await _ended(entry, command)
        ends.stdout.expire()
        if ends.stderr is not None:
            ends.stderr.expire()
        await asyncio.gather(*outputs)
    finally:
        for task in (*outputs, *others):
            task.cancel()
        await asyncio.gather(*outputs, *others, return_exceptions=True)
    return code


async def _ended(entry: ContainerEntry, command: _Command) -> int:
    own_end = asyncio.create_task(process.ended(command.pid))
    container_end = asyncio.create_task(entry.ended.wait())
    try:
        await asyncio.wait({own_end, container_end}, return_when=asyncio.FIRST_COMPLETED)
        if own_end.done():
            return exec_process.exit_code(command.launch, command.pid)
        # It lives on where the container has no PID namespace of its own.
        code = await exec_process.kill(command.launch, command.tool)
        return KILLED if code is None else code
    finally:
        own_end.cancel()
        container_end.cancel()


async def _carry_output(source: Descriptor, channel: Channel | None, terminal: bool) -> None:
    while data := await source.read():
        if channel is None:
            continue
        try:
            await channel.write(data)
        except Cancelled:
            if not terminal:
                # As when the reader of a pipe ends: the command learns it when it writes.
                source.close()
                return
            channel = None
    if channel is not None:
        channel.close()


async def _carry_input(channel: Channel | None, ends: _Ends) -> None:
    if channel is not None:
        with contextlib.suppress(Cancelled):
            await _write_input(channel, ends.stdin)
    if not ends.terminal:
        ends.stdin.close()


async def _write_input(channel: Channel, target: Descriptor) -> None:
    try:
        while data := await channel.read():
            await target.write(data)
    except OSError:
        # The command reads no more. What still comes must not stand in the way of what else the client sends.
        while await channel.read():
            continue


async def _resize(terminal: Descriptor, streams: Streams) -> None:
    with contextlib.suppress(Cancelled):
        async for size in streams.sizes():
            if not terminal.closed:
                # tty_ioctl(4): struct winsize; rows come first.
                window = struct.pack("HHHH", size.height, size.width, 0, 0)
                fcntl.ioctl(terminal.fileno(), termios.TIOCSWINSZ, window)


def _end(pipe: IO[bytes] | None) -> Descriptor:
    """This side's end of a tool's pipe, taken from its object."""
    assert pipe is not None
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return Descriptor(descriptor)


@contextlib.contextmanager
def _listening(path: str) -> Iterator[socket.socket | None]:
    """A socket at ``path``; None without one."""
    if not path:
        yield None
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(1)
        yield listener
