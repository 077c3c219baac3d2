"""Host tools run as subprocesses, and processes of others watched: both through pidfds on the event loop.

``asyncio.create_subprocess_exec`` costs a thread a process on Python 3.11; ``subprocess`` with vfork and a pidfd
does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import DeadlineExceeded, Internal

CHUNK = 65536


@dataclass(frozen=True)
class Completed:
    """What a tool left: its exit code (negative: the signal that ended it) and its output."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    argv: Sequence[str],
    *,
    limit: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    output_limit: int = 1 << 20,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> Completed:
    """Run a tool to its end, in a process group of its own.

    ``limit``: seconds it may take, then its group is killed and DeadlineExceeded raised. ``stdin``: what it reads from
    a file in memory; with None it has /dev/null. ``output_limit``: bytes kept of each output; the rest is read and
    dropped. What its orphans still write after it has ended is not waited for.

    Raises Internal when it cannot be started.
    """
    with _source(stdin) as source:
        process = start(argv, env=env, pass_fds=pass_fds, cwd=cwd, stdin=source)
    stdout, stderr = Sink(process.stdout, output_limit), Sink(process.stderr, output_limit)
    try:
        async with asyncio.timeout(limit):
            await ended(process.pid)
    except TimeoutError:
        kill_group(process)
        raise DeadlineExceeded(f"{argv[0]} did not end within {limit:g} s: {' '.join(argv)}") from None
    except asyncio.CancelledError:
        kill_group(process)
        raise
    finally:
        stdout.finish()
        stderr.finish()
        process.wait()
    return Completed(process.returncode, stdout.content, stderr.content)


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a tool in a session of its own with pipes for its output; ``stdin`` as for ``subprocess.Popen``.

    Raises Internal when it cannot be started.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else None,
            pass_fds=pass_fds,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise Internal(f"cannot run {argv[0]}: {error.strerror}; is it installed?") from error


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that ``start`` made, and its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def ended(pid: int) -> None:
    """Wait until a process has ended, be it a child or not. One that is not there has."""
    try:
        pidfd = open_pidfd(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def open_pidfd(pid: int) -> int:
    """pidfd_open(2). Raises ProcessLookupError for a process that is gone, or going.

    Where the number is only a thread's by now, or its process is just going, kernels say EINVAL, from 6.16 on ENOENT.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            raise ProcessLookupError(errno.ESRCH, f"there is no process {pid}, or no longer") from error
        raise


def watch(pidfd: int, callback: Callable[[], None]) -> None:
    """Call ``callback`` once when the process of ``pidfd`` has ended; the descriptor is closed then."""
    loop = asyncio.get_running_loop()

    def over() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        callback()

    loop.add_reader(pidfd, over)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); 0 when it is not there.

    With the pid it names a process for as long as the kernel runs: pids come back, start times do not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def set_oom_score_adj(pid: int, value: int) -> None:
    """Make a process more (1000) or less (-1000) likely to be killed for want of memory; one that has ended is fine.

    Raises OSError where podyard may not (proc(5), oom_score_adj).
    """
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(value), encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return


@contextlib.contextmanager
def _source(data: bytes | None) -> Iterator[int]:
    """A descriptor with ``data`` to read. A file: unlike a pipe it takes all at once, and nobody has to feed it."""
    if data is None:
        yield subprocess.DEVNULL
        return
    with open(os.memfd_create("stdin"), "wb") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


class Sink:
    """Reads a pipe as it fills, keeps the first ``limit`` bytes."""

    def __init__(self, pipe: object, limit: int) -> None:
        self._pipe = pipe
        self._fd: int = pipe.fileno()  # type: ignore[attr-defined]
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        self._open = True
        os.set_blocking(self._fd, False)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    @property
    def content(self) -> bytes:
        return b"".join(self._kept)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._close()
            return False
        if self._size < self._limit:
            self._kept.append(data[: self._limit - self._size])
            self._size += len(self._kept[-1])
        return True

    def finish(self) -> None:
        """Take what is in the pipe now and stop listening."""
        while self._open and self._read():
            pass
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._fd)
            self._pipe.close()  # type: ignore[attr-defined]
