"""Why a Pod was ended for good by the node that it ran on: kept with its files, so that nobody starts it again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from podyard.pods.folders import PodFolder

_LONGEST = 64 << 10
_ROOM = 4 << 10
"""Bytes that are set aside for a verdict."""


class Verdict(msgspec.Struct, frozen=True):
    """What a failed Pod's status says."""

    reason: str
    """One of Kubernetes' words, such as "Evicted"."""
    message: str
    disruption: bool = False
    """Whether the Pod did nothing wrong, and was ended for others' sake: its condition DisruptionTarget."""
    grace: int | None = None
    """Seconds that its containers get to end by themselves; None for what the Pod says."""


def make_room(folder: PodFolder) -> None:
    """Set a file aside for the verdict on a Pod that is about to be made: a full disk must not keep it from being
    evicted. Raises OSError."""
    _part(folder).write_bytes(b" " * _ROOM)


def write_verdict(folder: PodFolder, verdict: Verdict) -> None:
    """End the Pod: whoever supervises it sees this and stops it. The first verdict stays. Raises OSError."""
    if folder.verdict.exists():
        return
    descriptor = os.open(_part(folder), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        # In place, with blanks to the end, so that it takes no room that is not there.
        file.write(msgspec.json.encode(verdict).ljust(_ROOM))
        file.truncate()
    _part(folder).rename(folder.verdict)


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a Pod's file; None where there is none, or whoever asks may not read it."""
    with suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
        return msgspec.json.decode(file.read(_LONGEST), type=Verdict)
    return None


def _part(folder: PodFolder) -> Path:
    return folder.verdict.with_suffix(".new")
