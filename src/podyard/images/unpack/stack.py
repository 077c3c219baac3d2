"""Layers on top of each other, unpacked by one worker: forking one for each takes longer than unpacking a small layer.

A worker goes on to a layer only when all below it are whole, and it cannot write to them any more. So a layer is as
safe from those above it as with a worker of its own; and those below it are a part of its chain id.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podyard import errors
from podyard.images.unpack.limits import Limits, UnpackResult
from podyard.images.unpack.record import OPENED
from podyard.images.unpack.running import Session
from podyard.images.unpack.workers import Workers

_DIFF_ID = re.compile(r"sha256:[0-9a-f]{64}")
_MEDIA_TYPES = re.compile(
    r"application/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)"
)

OnProgress = Callable[[int], None] | None


@dataclass(frozen=True)
class _Layer:
    """What ``unpack`` is asked for."""

    blob: Path
    diff_id: str
    record: Path | None
    below: asyncio.Future[bool] | None
    on_progress: OnProgress


class Stack:
    """Unpacks layers into ``targets``, existing empty directories, from the lowest layer upwards.

    A target is claimed for each layer in turn, then given to ``unpack`` at once, in the same order. The worker ends
    when there is nothing left to claim, after a failure, or when the stack is given up. ``targets`` that were not
    claimed then, and what a failure has left, are for the caller to remove: nothing writes to them any more.

    ``workers``: who starts the worker; None, for a single target only, gives it an interpreter of its own.
    """

    def __init__(
        self, targets: Sequence[Path], *, limits: Limits | None = None, workers: Workers | None = None
    ) -> None:
        self.unclaimed = deque(targets)
        """Targets that are left to claim."""
        self._first, *self._further = targets
        self._limits = limits or Limits()
        self._workers = workers
        self._session: Session | None = None
        self._claimed = 0
        self._given_up = False

    @property
    def over(self) -> bool:
        """Whether nothing can be claimed any more."""
        ended = self._session is not None and self._session.ended
        return self._given_up or not self.unclaimed or ended

    @property
    def resting(self) -> bool:
        """Whether its worker has nothing to do."""
        return self._claimed == 0

    def claim(self) -> Path:
        """The target for the next layer. Raises IndexError when the stack is over."""
        target = self.unclaimed.popleft()
        self._claimed += 1
        return target

    def give_up(self) -> None:
        """Nothing will be claimed any more. What was claimed is unpacked still."""
        self._given_up = True
        self._leave_if_done()

    async def unpack(
        self,
        target: Path,
        blob: Path,
        media_type: str,
        *,
        diff_id: str,
        lower: Sequence[Path] = (),
        record: Path | None = None,
        below: asyncio.Future[bool] | None = None,
        on_progress: OnProgress = None,
    ) -> UnpackResult:
        """Unpack a layer into the target that was claimed for it.

        The arguments are as ``unpack_layer`` has them; it raises what that raises. All but the first layer wait until
        ``below`` is True; for them ``lower`` is known.
        """
        layer = _Layer(blob, diff_id, record, below, on_progress)
        try:
            check_media_type(media_type)
            check_diff_id(diff_id)
            result = await (self._begin(layer, lower) if target == self._first else self._go_on(layer))
        except BaseException:
            self._given_up = True
            raise
        finally:
            self._claimed -= 1
            self._leave_if_done()
        return UnpackResult(**{**result, "left_out": tuple(result["left_out"])})

    async def _begin(self, layer: _Layer, lower: Sequence[Path]) -> dict[str, Any]:
        request = {
            "blob": str(layer.blob),
            "target": str(self._first),
            "diff_id": layer.diff_id,
            "limits": self._limits._asdict(),
            "lower": [str(path) for path in lower],
            "record": str(layer.record or ""),
            "further": [str(path) for path in self._further],
        }
        session = self._session = await Session.start("worker", request, self._workers)

        def admit(whole: asyncio.Future[bool]) -> None:
            if whole.cancelled() or not whole.result():
                session.kill()
            else:
                session.tell({})

        below = layer.below
        if below is None:
            session.tell({})
            return await self._result(session, layer)
        below.add_done_callback(admit)
        try:
            return await self._result(session, layer)
        finally:
            below.remove_done_callback(admit)

    async def _go_on(self, layer: _Layer) -> dict[str, Any]:
        if layer.below is not None and not await asyncio.shield(layer.below):
            raise errors.Internal("the layer below has come to nothing")
        assert self._session is not None
        with ExitStack() as told:
            descriptors = []
            try:
                for path, flags in ((layer.blob, os.O_RDONLY | os.O_CLOEXEC), (layer.record, OPENED)):
                    if path is not None:
                        descriptors.append(os.open(path, flags, 0o600))
                        told.callback(os.close, descriptors[-1])
            except OSError as error:
                raise errors.Internal(f"cannot open {error.filename}: {error.strerror}") from error
            self._session.tell({"diff_id": layer.diff_id}, descriptors)
        return await self._result(self._session, layer)

    async def _result(self, session: Session, layer: _Layer) -> dict[str, Any]:
        subject = f"the unpack worker for {layer.blob}"
        try:
            result = await session.result(subject, self._limits.stall, layer.on_progress)
        except BaseException:
            await session.end(subject)
            raise
        if self._workers is None:
            await session.end(subject)
        return result

    def _leave_if_done(self) -> None:
        if self.over and self._claimed == 0 and self._session is not None and self._workers is not None:
            self._session.leave()


def check_diff_id(diff_id: str) -> None:
    """Raise InvalidArgument for what is no digest of an uncompressed layer."""
    if not _DIFF_ID.fullmatch(diff_id):
        raise errors.InvalidArgument(
            f"the layer's diff id {diff_id!r} is not of the form sha256:<64 hexadecimal digits>"
        )


def check_media_type(media_type: str) -> None:
    """Raise Unimplemented for what is no layer of a file system."""
    if not _MEDIA_TYPES.fullmatch(media_type):
        raise errors.Unimplemented(f"layers of the media type {media_type!r} cannot be unpacked")
