"""Pods that use something, and a machine whose figures a test sets; what is done about them is done by an engine."""

from __future__ import annotations

from typing import Any

from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.node.housekeeping.ranking import Candidate
from podyard.node.housekeeping.signals import Observation, Observed
from podyard.node.housekeeping.thresholds import Signal
from podyard.pods import PodEngine, PodView
from podyard.pods.verdict import Verdict


def pod_of(name: str, spec: str = "", image: str = "x:1") -> Pod:
    """A Pod of one container. ``spec``: one line more."""
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  {spec}
  containers: [{{name: main, image: '{image}'}}]
"""
    (pod,) = parse(text.encode(), "pod.yaml").pods
    return pod


def candidate(name: str, used: int, requested: int = 0, spec: str = "", **more: Any) -> Candidate:
    """It, as one that runs."""
    view = PodView(name=name, namespace="default", uid=name, sandbox_id=name, ips=(), containers=(), ready=True)
    return Candidate(pod=pod_of(name, spec), view=view, used=used, requested=requested, **more)


class Machine:
    """What an ``Evictor`` is given. ``left`` says how much there is of each signal, of 1000."""

    def __init__(self, engine: PodEngine | None = None) -> None:
        self.left: dict[Signal, int] = {"memory.available": 1000, "nodefs.available": 1000}
        self.own_image_disk = False
        self.running: list[Candidate] = []
        self.frees: dict[Signal, int] = {}
        """What a reclaim gives back."""
        self.reclaimed: list[bool] = []
        self.ended: list[tuple[str, Verdict]] = []
        self.engine = engine

    async def observe(self) -> Observed:
        """The figures as they stand."""
        signals = {signal: Observation(left, 1000) for signal, left in self.left.items()}
        return Observed(signals=signals, own_image_disk=self.own_image_disk)

    async def candidates(self, signal: Signal, own_image_disk: bool) -> list[Candidate]:
        """The Pods that run."""
        return self.running

    async def reclaim(self, images: bool) -> None:
        """Give back what is to be had."""
        self.reclaimed.append(images)
        self.left |= self.frees

    async def end(self, view: PodView, verdict: Verdict) -> None:
        """End it, where there is an engine that can."""
        if self.engine is not None:
            await self.engine.end(view, verdict)
        self.running = [one for one in self.running if one.view.full_name != view.full_name]
        self.ended.append((view.full_name, verdict))
