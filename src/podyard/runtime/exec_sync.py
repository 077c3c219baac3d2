"""ExecSync: a command in a running container, to its end. No monitor is started for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path

from podyard.cri import api
from podyard.errors import DeadlineExceeded, Internal, InvalidArgument
from podyard.lifecycle import containers
from podyard.linux import process
from podyard.oci.process import exec_process
from podyard.oci.runtime import message
from podyard.operations import stage
from podyard.runtime.context import Context

OUTPUT_LIMIT = 16 << 20
"""Bytes kept of each stream; the rest is discarded, as containerd and CRI-O do."""

FOREVER = 365 * 24 * 3600.0
"""Seconds for a command with timeout 0: the CRI sets no limit then."""


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
        argv = [str(runtime.path), *runtime.global_options, "exec"]
        argv += ["--process", str(folder / "process.json"), "--pid-file", str(folder / "pid"), entry.record.id]
        try:
            # An empty pipe, not /dev/null: crun 1.8 makes the container's user the owner of what its exec has as stdin,
            # and that would be the host's device (crun issue 1845).
            limit = request.timeout or FOREVER
            result = await process.run(argv, limit=limit, stdin=b"", output_limit=OUTPUT_LIMIT)
        except (DeadlineExceeded, asyncio.CancelledError) as error:
            _kill_tree(folder / "pid")
            if isinstance(error, DeadlineExceeded):
                command = " ".join(request.cmd)
                raise DeadlineExceeded(
                    f"command {command!r} in container {entry.record.id[:12]} did not end within {request.timeout} s"
                ) from None
            raise
        # The runtime writes the pid file once the command runs: without it the failure is the runtime's, not its.
        if not (folder / "pid").exists():
            raise Internal(f"cannot run {request.cmd[0]!r} in {entry.record.id[:12]}: {message(result.stderr)}")
    code = result.code if result.code >= 0 else 128 - result.code
    return api.ExecSyncResponse(stdout=result.stdout, stderr=result.stderr, exit_code=code)


def _kill_tree(pid_file: Path) -> None:
    """Kill the command and all that descends from it."""
    try:
        pending = [int(pid_file.read_text(encoding="ascii"))]
    except (OSError, ValueError):
        return
    while pending:
        pid = pending.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
