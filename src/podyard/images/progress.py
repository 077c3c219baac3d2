"""How far a pull is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from podyard.operations import stage

LayerState = Literal["waiting", "downloading", "unpacking", "done", "shared"]


@dataclass
class LayerProgress:
    """One layer. ``shared``: it was on the host already. ``done`` and ``total`` are bytes of the compressed layer."""

    digest: str
    total: int
    state: LayerState = "waiting"
    done: int = 0


@dataclass
class PullProgress:
    """One pull in flight. It changes while the pull goes on."""

    reference: str
    image_digest: str = ""
    """The digest of the manifest or index; "" until it is known."""
    stage: str = "waiting"
    """Completes "while …"."""
    started_at: int = field(default_factory=time.time_ns)
    """Nanoseconds since 1970."""
    layers: list[LayerProgress] = field(default_factory=list)
    """The lowest first; one that two pulls wait for stands in both."""

    def bytes(self) -> tuple[int, int]:
        """The compressed bytes that are fetched, and those that have to be: layers that were here do not count."""
        wanted = [layer for layer in self.layers if layer.state != "shared"]
        return sum(layer.done for layer in wanted), sum(layer.total for layer in wanted)

    def layers_text(self) -> str:
        """How far it is, in words."""
        here = sum(layer.state in {"done", "shared"} for layer in self.layers)
        done, total = self.bytes()
        return f"{here} of {len(self.layers)} layers are here, {done / 1e6:.1f} of {total / 1e6:.1f} MB are fetched"


@contextmanager
def doing(progress: PullProgress, what: str) -> Iterator[None]:
    """A stage of a pull, in its progress and in the call's trace. ``what`` completes "while …"."""
    progress.stage = what
    with stage(what):
        yield
