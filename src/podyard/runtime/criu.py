"""What is common to all who save and restore processes through the OCI runtime and CRIU."""

from __future__ import annotations

from pathlib import Path

from podyard.errors import FailedPrecondition, PodyardError
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry

LONGEST = 24 * 3600.0
"""Seconds that a checkpoint can take when its caller sets no limit."""

ERRORS_TOLD = 3
"""Lines of CRIU's log that an error quotes: the last ones say what failed, those before only where."""


async def save(context: Context, entry: ContainerEntry, images: Path, work: Path, *, limit: float) -> None:
    """Write the images of a container's processes to ``images``, and CRIU's log to ``work``. They are left as they are.

    Raises as ``OciRuntime.checkpoint`` does; FailedPrecondition has CRIU's own reason.
    """
    for folder in (images, work):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        await context.runtime(entry.record.runtime).checkpoint(entry.record.id, images, work, limit=limit)
    except FailedPrecondition as error:
        raise FailedPrecondition(f"{error}{last_errors(work / 'dump.log')}") from error


async def let_go(context: Context, container_id: str) -> None:
    """Let a container's processes run where they are held, by podyard or by a CRIU that was killed."""
    entry = context.store.containers.get(container_id)
    if entry is None or entry.record.state != "running":
        return
    runtime = context.runtime(entry.record.runtime)
    try:
        if await runtime.state(container_id) == "paused":
            await runtime.resume(container_id)
    except PodyardError:
        if not entry.ended.is_set():
            raise


def last_errors(log: Path) -> str:
    """What CRIU's log says went wrong, in its last words, to stand at the end of an error; "" for nothing."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    errors = [line for line in lines if "Error" in line]
    return f"; CRIU's log: {' | '.join(errors[-ERRORS_TOLD:])}" if errors else ""
