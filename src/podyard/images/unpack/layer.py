"""The daemon's side: starts a worker for a layer, follows its progress, ends it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from podyard import errors
from podyard.images.unpack.limits import Limits, UnpackResult
from podyard.linux import process

_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")
_MEDIA_TYPES = re.compile(
    r"application/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)"
)
_LINE_LIMIT = 1 << 20
_END_LIMIT = 30.0  # seconds for a killed worker to be gone


async def unpack_layer(
    blob: Path,
    media_type: str,
    target: Path,
    *,
    diff_id: str,
    limits: Limits | None = None,
    lower: Sequence[Path] = (),
    on_progress: Callable[[int], None] | None = None,
) -> UnpackResult:
    """Unpack the layer ``blob`` into ``target``, an existing empty directory, as a layer for overlayfs.

    ``diff_id``: the digest of the uncompressed archive. ``lower``: the unpacked layers below, the topmost first, from
    which directories that the archive leaves out get their owner, mode and attributes; without it they are root's, mode
    0755. ``on_progress`` is called with the number of the blob's bytes read so far, some ten times a second.

    The compression is told from the blob itself; ``media_type`` says only that it is a layer. ``target`` is left as it
    is on failure, for the caller to remove; nothing writes to it any more then. Cancelling kills the worker.

    Raises InvalidArgument for a hostile archive, DataLoss for a damaged one or another digest, ResourceExhausted for a
    full disk or a limit, Unimplemented for another media type or compression, DeadlineExceeded without progress for
    ``limits.stall`` seconds, Internal when the worker fails.
    """
    limits = limits or Limits()
    if not _MEDIA_TYPES.fullmatch(media_type):
        raise errors.Unimplemented(f"layers of the media type {media_type!r} cannot be unpacked")
    if not _DIFF_ID.fullmatch(diff_id):
        raise errors.InvalidArgument(
            f"the layer's diff id {diff_id!r} is not of the form sha256:<64 hexadecimal digits>"
        )
    request = {
        "blob": str(blob),
        "target": str(target),
        "diff_id": diff_id,
        "limits": asdict(limits),
        "lower": [str(path) for path in lower],
    }
    # -P: whatever lies in the working directory is not a module.
    worker = process.start([sys.executable, "-P", "-m", "podyard.images.unpack.worker", json.dumps(request)])
    try:
        return await _follow(worker, blob, limits.stall, on_progress)
    finally:
        await _end(worker, blob)


async def _follow(
    worker: subprocess.Popen[bytes], blob: Path, stall: float, on_progress: Callable[[int], None] | None
) -> UnpackResult:
    with ExitStack() as until_read:
        output = await _reader(worker.stdout, until_read)
        complaints = await _reader(worker.stderr, until_read)
        complaint = asyncio.create_task(complaints.read(_LINE_LIMIT))
        until_read.callback(complaint.cancel)
        try:
            while True:
                async with asyncio.timeout(stall):
                    line = await output.readline()
                if not line:
                    break
                message = json.loads(line)
                if "read" in message:
                    if on_progress is not None:
                        on_progress(message["read"])
                elif "error" in message:
                    status, text = message["error"]
                    raise errors.for_status(status, text)
                else:
                    result = message["result"]
                    return UnpackResult(**{**result, "left_out": tuple(result["left_out"])})
            async with asyncio.timeout(stall):
                await process.ended(worker.pid)
                code = worker.wait()
                last = (await complaint).decode(errors="replace").strip().rpartition("\n")[2]
        except TimeoutError:
            raise errors.DeadlineExceeded(
                f"the unpack worker for {blob} made no progress for {stall:g} s; is the disk overloaded or gone?"
            ) from None
    raise errors.Internal(f"the unpack worker for {blob} ended with exit code {code}: {last or 'it said nothing'}")


async def _reader(pipe: Any, closing: ExitStack) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    closing.callback(transport.close)
    return reader


async def _end(worker: subprocess.Popen[bytes], blob: Path) -> None:
    """See a worker's end, and make it."""
    if worker.poll() is None:
        process.kill_group(worker)
    try:
        await asyncio.to_thread(worker.wait, _END_LIMIT)
    except subprocess.TimeoutExpired:
        raise errors.Internal(f"the unpack worker for {blob} cannot be killed: the disk does not answer") from None
    finally:
        # Those that were not reached, when the caller went away very early.
        for pipe in (worker.stdout, worker.stderr):
            if pipe is not None:
                pipe.close()
