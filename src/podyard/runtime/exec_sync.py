"""ExecSync: a command in a running container, to its end.

No monitor is started for it. The OCI runtime leaves the command to itself (``exec --detach``) and ends; podyard, whose
child the command then is, watches it and collects its exit code (``linux/orphans.py``). So nothing waits for children
of the command that keep its output open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from podyard.cri import api
from podyard.errors import DeadlineExceeded, Internal, InvalidArgument
from podyard.lifecycle import containers
from podyard.linux import cgroups, orphans, process
from podyard.oci.process import exec_process
from podyard.oci.runtime import VERB_LIMIT, message
from podyard.operations import stage
from podyard.runtime.context import Context

OUTPUT_LIMIT = 16 << 20
"""Bytes kept of each stream; the rest is discarded, as containerd and CRI-O do."""


@dataclass(frozen=True)
class _Launch:
    """What the OCI runtime is called with, and where it writes the command's pid."""

    argv: list[str]
    pid_file: Path


async def exec_sync(context: Context, request: api.ExecSyncRequest) -> api.ExecSyncResponse:
    """Run a command in a container and return its output and exit code.

    Raises DeadlineExceeded when it has not ended after ``timeout`` seconds: it and its children are killed then.
    """
    entry = context.store.container(request.container_id)
    containers.check_is_running(entry.record)
    if not request.cmd:
        raise InvalidArgument("cmd is empty: name the program to run")
    if request.timeout < 0:
        raise InvalidArgument(f"timeout {request.timeout} is negative")
    bundle = context.paths.bundle(entry.record.id)
    spec = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    runtime = context.runtime(entry.record.runtime)
    with tempfile.TemporaryDirectory(prefix="exec-", dir=bundle) as name, stage("running the command"):
        folder = Path(name)
        document = exec_process(spec, list(request.cmd), tty=False)
        (folder / "process.json").write_text(json.dumps(document), encoding="utf-8")
        argv = [str(runtime.path), *runtime.global_options, "exec", "--detach"]
        argv += ["--process", str(folder / "process.json"), "--pid-file", str(folder / "pid"), entry.record.id]
        try:
            async with asyncio.timeout(request.timeout or None):
                return await _run(_Launch(argv, folder / "pid"), request.cmd[0])
        except TimeoutError:
            command = " ".join(request.cmd)
            raise DeadlineExceeded(
                f"command {command!r} in container {entry.record.id[:12]} did not end within {request.timeout} s"
            ) from None


async def _run(launch: _Launch, program: str) -> api.ExecSyncResponse:
    # An empty pipe, not /dev/null: crun 1.8 makes the container's user the owner of what its exec has as stdin, and
    # that would be the host's device (crun issue 1845).
    tool = process.start(launch.argv, stdin=True)
    assert tool.stdin is not None
    tool.stdin.close()
    stdout, stderr = process.Sink(tool.stdout, OUTPUT_LIMIT), process.Sink(tool.stderr, OUTPUT_LIMIT)
    try:
        async with asyncio.timeout(VERB_LIMIT):
            await process.ended(tool.pid)
        if tool.wait() != 0:
            stderr.finish()
            raise Internal(f"cannot run {program!r}: {message(stderr.content)}")  # noqa: TRY301
        pid = int(launch.pid_file.read_text(encoding="ascii"))
        await process.ended(pid)
        code = orphans.exit_code(pid)
    except BaseException:
        process.kill_group(tool)
        tool.wait()
        await _kill_tree(launch.pid_file)
        raise
    finally:
        stdout.finish()
        stderr.finish()
    if code is None:
        raise Internal(f"the exit code of {program!r} was lost: another part of podyard has collected it")
    return api.ExecSyncResponse(stdout=stdout.content, stderr=stderr.content, exit_code=code)


async def _kill_tree(pid_file: Path) -> None:
    """Kill the command and all that descends from it, and collect it: its PID namespace cannot end before.

    One that the kernel does not let go of within KILL_PATIENCE is left to the sweeper.
    """
    try:
        command = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    pending = [command]
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
    orphans.exit_code(command)
