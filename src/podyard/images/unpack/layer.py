"""The daemon's side: unpacks a layer, checks an unpacked one, and packs it again, each in a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from podyard import errors
from podyard.images.unpack.limits import STALL, Limits, UnpackResult
from podyard.images.unpack.running import run_worker
from podyard.images.unpack.stack import Stack
from podyard.images.unpack.workers import Workers


async def unpack_layer(
    blob: Path,
    media_type: str,
    target: Path,
    *,
    diff_id: str,
    limits: Limits | None = None,
    lower: Sequence[Path] = (),
    record: Path | None = None,
    workers: Workers | None = None,
    below: asyncio.Future[bool] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> UnpackResult:
    """Unpack the layer ``blob`` into ``target``, an existing empty directory, as a layer for overlayfs.

    ``diff_id``: the digest of the uncompressed archive. ``lower``: the unpacked layers below, the topmost first, from
    which directories that the archive leaves out get their owner, mode and attributes; without it they are root's, mode
    0755. ``below``: becomes True once those layers are whole, where they are being unpacked too; with False the worker
    is killed. ``record``: a file to write the layer's record to (record.py). ``on_progress`` is called with the number
    of the blob's bytes read so far, some ten times a second.

    The compression is told from the blob itself; ``media_type`` says only that it is a layer. ``target`` is left as it
    is on failure, for the caller to remove; nothing writes to it any more then. Cancelling kills the worker.

    Raises InvalidArgument for a hostile archive, DataLoss for a damaged one or another digest, ResourceExhausted for a
    full disk or a limit, Unimplemented for another media type or compression, DeadlineExceeded without progress for
    ``limits.stall`` seconds, Internal when the worker fails.
    """
    stack = Stack([target], limits=limits, workers=workers)
    return await stack.unpack(
        stack.claim(),
        blob,
        media_type,
        diff_id=diff_id,
        lower=lower,
        record=record,
        below=below,
        on_progress=on_progress,
    )


async def check_layer(
    tree: Path, record: Path, *, diff_id: str, stall: float = STALL, workers: Workers | None = None
) -> list[str]:
    """Compare an unpacked layer with its record and its digest; what is wrong, in words.

    Raises FailedPrecondition when the record cannot tell (a file was replaced within the archive), DataLoss when the
    record itself is damaged or there is no tree, DeadlineExceeded without progress for ``stall`` seconds, Internal when
    the worker fails.
    """
    _look_for(tree)
    request = {"tree": str(tree), "record": str(record), "diff_id": diff_id, "output": ""}
    result = await run_worker("packer", request, f"the check of {tree}", stall=stall, workers=workers)
    return [str(problem) for problem in result["problems"]]


async def pack_layer(
    tree: Path, record: Path, output: Path, *, diff_id: str, stall: float = STALL, workers: Workers | None = None
) -> int:
    """Write the archive that an unpacked layer was made of, uncompressed, to a new file; its size in bytes.

    Raises DataLoss when the tree is not what it was, and as ``check_layer``; ResourceExhausted when the disk is full.
    """
    _look_for(tree)
    request = {"tree": str(tree), "record": str(record), "diff_id": diff_id, "output": str(output)}
    result = await run_worker("packer", request, f"the packing of {tree}", stall=stall, workers=workers)
    if result["problems"]:
        raise errors.DataLoss(f"the layer {tree} is damaged: {'; '.join(result['problems'])}; podyard fsck --repair")
    return int(result["size"])


def _look_for(tree: Path) -> None:
    if not tree.is_dir():
        raise errors.DataLoss(f"the layer's directory {tree} is missing")
