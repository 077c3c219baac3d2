"""conmon: one small process a container that holds its stdio, writes its log and its exit file, and outlives podyard.

conmon forks itself into the background, runs the OCI runtime's ``create`` and reports the first process' pid as a JSON
object on the descriptor named by ``_OCI_SYNCPIPE``. When that process ends it writes ``<exit directory>/<id>`` with
the exit code, then ends itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import DeadlineExceeded, FailedPrecondition, Internal
from podyard.linux import process
from podyard.model.records import Process
from podyard.oci import runtime
from podyard.oci.runtime import OciRuntime

CREATE_LIMIT = 120.0
"""Seconds for conmon and the OCI runtime to create a container: slow disks and hung mounts show here."""

REOPEN_LIMIT = 10.0
REOPEN_LOG = "2 0 0\n"
RESIZE = "1 {height} {width}\n"
"""conmon's control messages: 1 sets the terminal's size, 2 reopens the log and has no use for the numbers."""

STDOUT, STDERR = 2, 3
"""The first byte of each packet on the attach socket says where it comes from."""
LARGEST_INPUT = 8192
"""Bytes of a packet for the container's input: conmon reads no more than 32 KiB at once and would lose the rest."""
ATTACH_LIMIT = 10.0
"""Seconds for conmon to accept a client of the attach socket."""


@dataclass(frozen=True)
class Monitor:
    """``path``: conmon. ``exits``: the directory of exit files (never one that holds bundles)."""

    path: Path
    exits: Path

    async def create(
        self,
        container_id: str,
        bundle: Path,
        oci_runtime: OciRuntime,
        *,
        log_path: Path | None = None,
        tty: bool = False,
        stdin: bool = False,
        stdin_once: bool = False,
        restore: Path | None = None,
    ) -> Process:
        """Create a container from its bundle: its first process waits to be started.

        ``restore``: a directory with CRIU's images of its processes, which run at once; CRIU's log goes to the bundle.

        Raises Internal with the OCI runtime's own words when it cannot.
        """
        argv = [
            str(self.path),
            *("--api-version", "1", "--cid", container_id, "--cuuid", container_id, "--name", container_id),
            *("--bundle", str(bundle), "--runtime", str(oci_runtime.path)),
            *("--container-pidfile", str(bundle / "pid"), "--conmon-pidfile", str(bundle / "monitor-pid")),
            *("--exit-dir", str(self.exits), "--persist-dir", str(bundle), "--full-attach", "--no-sync-log"),
            *("--log-path", f"k8s-file:{log_path}" if log_path else "off"),
        ]
        for option in oci_runtime.global_options:
            argv += ["--runtime-arg", option]
        argv += ["--systemd-cgroup"] if oci_runtime.systemd else []
        argv += ["--terminal"] if tty else []
        argv += ["--stdin"] if stdin else []
        argv += ["--leave-stdin-open"] if stdin and not stdin_once else []
        if restore is not None:
            argv += ["--restore", str(restore)]
            for option in runtime.CRIU_OPTIONS:
                argv += ["--runtime-opt", option]
        pid = await _sync(argv, bundle)
        monitor_pid = int((bundle / "monitor-pid").read_text(encoding="ascii"))
        return Process(
            pid=pid,
            start_time=process.start_time(pid),
            monitor_pid=monitor_pid,
            monitor_start_time=process.start_time(monitor_pid),
        )

    def exit_of(self, container_id: str) -> tuple[int, int] | None:
        """Exit code and time (ns since 1970) that conmon has written, or None."""
        path = self.exits / container_id
        try:
            text = path.read_text(encoding="ascii")
            finished_at = path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        return (int(text), finished_at) if text.strip() else None

    def forget(self, container_id: str) -> None:
        """Remove the exit file."""
        (self.exits / container_id).unlink(missing_ok=True)


async def reopen_log(bundle: Path, log_path: Path) -> None:
    """Let conmon write to a file at ``log_path``, a new one where that is not what it writes to already.

    conmon would put an empty file in place of its own log, so it is asked only when the log was renamed or is gone. For
    the same reason calls for one log follow each other, and go on when their callers have gone.

    Raises FailedPrecondition when no conmon listens, DeadlineExceeded when it does not react.
    """
    task = asyncio.create_task(_reopen_log(bundle, log_path, _reopening.get(log_path)))
    _reopening[log_path] = task

    def over(ended: asyncio.Task[None]) -> None:
        if _reopening[log_path] is ended:
            del _reopening[log_path]
        if not ended.cancelled():
            ended.exception()  # where nobody waits for it any more, it is no error of the loop's

    task.add_done_callback(over)
    await asyncio.shield(task)


_reopening: dict[Path, asyncio.Task[None]] = {}
"""The last call for each log that has not ended."""


async def _reopen_log(bundle: Path, log_path: Path, earlier: asyncio.Task[None] | None) -> None:
    """conmon opens the new file under another name and renames it when it has written all of the old: so when a new
    file stands at the path, nothing goes to the old one any more.
    """
    if earlier is not None:
        await asyncio.wait([earlier])
    before = _identity(log_path)
    if before is not None and before in _opened_by_monitor(bundle):
        return
    _control(bundle, REOPEN_LOG)
    try:
        async with asyncio.timeout(REOPEN_LIMIT):
            # conmon gives no other sign, and log rotation is rare.
            while (now := _identity(log_path)) is None or now == before:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise DeadlineExceeded(f"conmon did not reopen {log_path} within {REOPEN_LIMIT:g} s") from None
    log_path.chmod(0o640)


def _opened_by_monitor(bundle: Path) -> set[tuple[int, int] | None]:
    """The identities of the files that a container's conmon has open; none where it has ended."""
    try:
        pid = int((bundle / "monitor-pid").read_text(encoding="ascii"))
        return {_identity(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()


async def attach(bundle: Path) -> socket.socket:
    """A connection to a container's input and output: packets (unix(7), SOCK_SEQPACKET). Its end is the container's.

    What is written goes to the input as it is; what comes begins with STDOUT or STDERR. A client that does not read
    makes conmon wait, and so the container.

    Raises FailedPrecondition when no conmon listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(ATTACH_LIMIT)
    try:
        await asyncio.to_thread(_connect, connection, bundle)
    except OSError as error:
        connection.close()
        raise FailedPrecondition(f"the monitor of {bundle.name} does not listen: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def resize(bundle: Path, width: int, height: int) -> None:
    """Set the size of a container's terminal, in characters. Raises FailedPrecondition when no conmon listens."""
    _control(bundle, RESIZE.format(width=width, height=height))


def _connect(connection: socket.socket, bundle: Path) -> None:
    # Through the directory's descriptor: a socket's path has 107 bytes at most (unix(7)).
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/attach")
    finally:
        os.close(directory)


def _control(bundle: Path, message: str) -> None:
    try:
        control = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FailedPrecondition(f"the monitor of {bundle.name} does not listen: {error.strerror}") from error
    try:
        os.write(control, message.encode())
    finally:
        os.close(control)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


async def _sync(argv: list[str], bundle: Path) -> int:
    """Run conmon until it has reported the container's pid."""
    reading, writing = os.pipe()
    try:
        try:
            env = {"PATH": os.environ.get("PATH", os.defpath), "_OCI_SYNCPIPE": str(writing)}
            if "XDG_RUNTIME_DIR" in os.environ:
                env["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
            result = await process.run(argv, limit=CREATE_LIMIT, env=env, pass_fds=(writing,), cwd=bundle)
        finally:
            os.close(writing)
        if result.code != 0:
            raise Internal(f"conmon failed with {result.code}: {runtime.message(result.stderr)}")
        report = await _first_line(reading)
    finally:
        os.close(reading)
    try:
        answer = json.loads(report)
        pid = int(answer["data"])
    except (ValueError, KeyError, TypeError) as error:
        why = runtime.message(result.stderr)
        raise Internal(f"conmon did not report a process of {bundle.name}: {report!r}; {why}") from error
    if pid <= 0:
        raise Internal(runtime.message(str(answer.get("message") or "no reason given").encode()))
    return pid


async def _first_line(descriptor: int) -> bytes:
    """The first line from a pipe, or what came before its end."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    line = b""
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(CREATE_LIMIT):
            while b"\n" not in line:
                await readable.wait()
                readable.clear()
                data = os.read(descriptor, 65536)
                if not data:
                    break
                line += data
    except TimeoutError:
        raise DeadlineExceeded(f"conmon reported no process within {CREATE_LIMIT:g} s") from None
    finally:
        loop.remove_reader(descriptor)
    return line.partition(b"\n")[0]
