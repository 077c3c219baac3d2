"""Why a Pod was ended for good by the node that it ran on: kept with its files, so that nobody starts it again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from podyard.pods.folders import PodFolder

_LONGEST = 64 << 10


class Verdict(msgspec.Struct, frozen=True):
    """What a failed Pod's status says."""

    reason: str
    """One of Kubernetes' words, such as "Evicted"."""
    message: str
    disruption: bool = False
    """Whether the Pod did nothing wrong, and was ended for others' sake: its condition DisruptionTarget."""
    grace: int | None = None
    """Seconds that its containers get to end by themselves; None for what the Pod says."""


def write_verdict(folder: PodFolder, verdict: Verdict) -> None:
    """End the Pod: whoever supervises it sees this and stops it. The first verdict stays. Raises OSError."""
    if folder.verdict.exists():
        return
    part = folder.verdict.with_suffix(".new")
    part.write_bytes(msgspec.json.encode(verdict))
    part.rename(folder.verdict)


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a Pod's file; None where there is none, or whoever asks may not read it."""
    with suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
        return msgspec.json.decode(file.read(_LONGEST), type=Verdict)
    return None
