"""ExecSync: a command in a running container, to its end."""

from __future__ import annotations

import asyncio
import subprocess

from podyard.cri import api
from podyard.errors import DeadlineExceeded, InvalidArgument
from podyard.lifecycle import containers
from podyard.linux import process
from podyard.operations import stage
from podyard.runtime import exec_process
from podyard.runtime.context import Context
from podyard.runtime.exec_process import Launch

OUTPUT_LIMIT = (16 << 20) - 1024
"""Bytes kept of both streams together; the rest is discarded. A client takes an answer of 16 MiB, with all that is in
it: from containerd, which keeps 16 MiB of each stream, it gets an error instead."""


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
    with exec_process.prepared(context, entry, request.cmd) as launch, stage("running the command"):
        try:
            async with asyncio.timeout(request.timeout or None):
                return await _run(launch)
        except TimeoutError:
            command = " ".join(request.cmd)
            raise DeadlineExceeded(
                f"command {command!r} in container {entry.record.id[:12]} did not end within {request.timeout} s"
            ) from None


async def _run(launch: Launch) -> api.ExecSyncResponse:
    # An empty pipe, not /dev/null: crun 1.8 makes the container's user the owner of what its exec has as stdin, and
    # that would be the host's device (crun issue 1845).
    tool = process.start(launch.argv, stdin=subprocess.PIPE)
    assert tool.stdin is not None
    tool.stdin.close()
    stdout, stderr = process.Sink(tool.stdout, OUTPUT_LIMIT), process.Sink(tool.stderr, OUTPUT_LIMIT)

    def said() -> bytes:
        stderr.finish()
        return stderr.content

    try:
        pid = await exec_process.launched(launch, tool, said)
        await process.ended(pid)
        code = exec_process.exit_code(launch, pid)
    except BaseException:
        await exec_process.kill(launch, tool)
        raise
    finally:
        stdout.finish()
        stderr.finish()
    # What one stream leaves of its half is the other's.
    errors = stderr.content[: max(OUTPUT_LIMIT // 2, OUTPUT_LIMIT - len(stdout.content))]
    output = stdout.content[: OUTPUT_LIMIT - len(errors)]
    return api.ExecSyncResponse(stdout=output, stderr=errors, exit_code=code)
