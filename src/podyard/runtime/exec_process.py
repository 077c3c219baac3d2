"""Commands in running containers, for ExecSync and Exec.

No monitor is started for them. The OCI runtime leaves a command to itself (``exec --detach``) and ends; podyard, whose
child the command then is, watches it and collects its exit code (``linux/orphans.py``). So nothing waits for children
of the command that keep its output open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import DeadlineExceeded, Internal
from podyard.linux import cgroups, orphans, process
from podyard.oci.process import exec_process
from podyard.oci.runtime import VERB_LIMIT, message
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry

LAUNCH_PATIENCE = 5.0
"""Seconds for the OCI runtime to end by itself before it is killed."""


@dataclass(frozen=True)
class Launch:
    """What the OCI runtime is called with. ``folder`` is the command's own and goes with it."""

    argv: list[str]
    program: str
    folder: Path
    cgroup: str
    console: str = ""
    """With a terminal: where the OCI runtime connects to hand over its master side."""

    @property
    def pid_file(self) -> Path:
        """Where the OCI runtime writes the command's pid."""
        return self.folder / "pid"


@contextlib.contextmanager
def prepared(context: Context, entry: ContainerEntry, cmd: Sequence[str], *, tty: bool = False) -> Iterator[Launch]:
    """Everything to run a command in a container. Raises InvalidArgument for a command that cannot be."""
    record = entry.record
    bundle = context.paths.bundle(record.id)
    spec = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    runtime = context.runtime(record.runtime)
    with (
        # The bundle may be gone at the end, with its container.
        tempfile.TemporaryDirectory(prefix="exec-", dir=bundle, ignore_cleanup_errors=True) as name,
        _opened(Path(name)) as descriptor,
    ):
        folder = Path(name)
        document = exec_process(spec, list(cmd), tty=tty)
        (folder / "process.json").write_text(json.dumps(document), encoding="utf-8")
        argv = [str(runtime.path), *runtime.global_options, "exec", "--detach"]
        argv += ["--process", str(folder / "process.json"), "--pid-file", str(folder / "pid")]
        # A socket's path has 107 bytes at most (unix(7)), and a bundle's may be longer.
        console = f"/proc/{os.getpid()}/fd/{descriptor}/console" if tty else ""
        argv += ["--console-socket", console] if tty else []
        yield Launch([*argv, record.id], cmd[0], folder, record.cgroup, console)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def launched(launch: Launch, tool: subprocess.Popen[bytes], stderr: Callable[[], bytes]) -> int:
    """Wait until the OCI runtime has left the command to itself; the command's pid.

    Raises Internal with what it wrote to ``stderr`` when it could not, DeadlineExceeded when it does not end.
    """
    try:
        async with asyncio.timeout(VERB_LIMIT):
            await process.ended(tool.pid)
    except TimeoutError:
        raise DeadlineExceeded(
            f"{tool.args[0]!s} did not start {launch.program!r} within {VERB_LIMIT:g} s"  # type: ignore[index]
        ) from None
    if tool.wait() != 0:
        raise Internal(f"cannot run {launch.program!r}: {message(stderr())}")
    return int(launch.pid_file.read_text(encoding="ascii"))


def exit_code(launch: Launch, pid: int) -> int:
    """The exit code of a command that has ended, which is collected. Raises Internal when it was lost."""
    code = orphans.exit_code(pid)
    if code is None:
        raise Internal(f"the exit code of {launch.program!r} was lost: another part of podyard has collected it")
    return code


async def kill(launch: Launch, tool: subprocess.Popen[bytes]) -> int | None:
    """Kill the command and all that belongs to it: what descends from it, and what its session's processes have left
    to the container's init.

    It is collected too: its PID namespace cannot end before. Its exit code; None where it had been collected, and for
    one that the kernel does not let go of within KILL_PATIENCE, which is left to the sweeper.
    """
    if tool.returncode is None:
        # Killed in the middle of its work it would leave a command of which nobody knows the pid.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAUNCH_PATIENCE):
                await process.ended(tool.pid)
        process.kill_group(tool)
        tool.wait()
    try:
        command = int(launch.pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    # Its session may be that of a process which the OCI runtime had between the two, and which has ended.
    session = _session(command)
    others = cgroups.processes(launch.cgroup) if session not in {0, os.getsid(0)} else []
    pending = [command, *(pid for pid in others if _session(pid) == session)]
    while pending:
        pid = pending.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(cgroups.KILL_PATIENCE):
            await process.ended(command)
    return orphans.exit_code(command)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
