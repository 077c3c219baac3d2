"""What is known of a Pod's containers beside what the endpoint tells: why they wait, what their probes say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from podyard.errors import PodyardError
from podyard.manifest.model import Resources

_WHILE_WAITING = {"": "CrashLoopBackOff", "ErrImagePull": "ImagePullBackOff"}


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run yet, or not again. ``reason`` is one of Kubernetes' words, "" for none yet."""

    reason: str = ""
    message: str = ""


@dataclass
class Board:
    """Written by whoever starts, watches and probes a Pod, read by whoever shows it."""

    waiting: dict[str, Waiting] = field(default_factory=dict)
    """By container name."""
    started: set[str] = field(default_factory=set)
    """Ids of containers whose startup probe succeeded."""
    ready: set[str] = field(default_factory=set)
    """Ids of containers whose readiness probe succeeded last."""

    probed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often a container, by its name, was probed: by the probe's kind, and "successful", "failed" or "unknown"."""
    unhealthy: set[str] = field(default_factory=set)
    """Ids of containers that are stopped because a probe failed: they are started again even if they end well."""
    replaced: set[str] = field(default_factory=set)
    """Ids of containers that are stopped because their manifest changed: whatever the policy, the next is started."""

    resources: dict[str, Resources] = field(default_factory=dict)
    """What running containers have been given, by name."""
    resizing: dict[str, str] = field(default_factory=dict)
    """Containers that are to be given something else: why that failed, "" while it is done. By name."""

    @contextmanager
    def reason(self, name: str, reason: str) -> Iterator[None]:
        """Do what is inside for a container; where that fails, ``reason`` is why it waits."""
        try:
            yield
        except (PodyardError, OSError) as error:
            self.waiting[name] = Waiting(reason, str(error))
            raise

    def runs(self, name: str) -> None:
        """A container has been started: it waits for nothing."""
        self.waiting.pop(name, None)

    def backs_off(self, name: str, seconds: float) -> None:
        """A container is started again later: because its start failed, or because it ended."""
        known = self.waiting.get(name, Waiting())
        reason = _WHILE_WAITING.get(known.reason, known.reason)
        message = known.message
        if reason == "CrashLoopBackOff":
            message = f"the container has ended and is started again after {seconds:.0f} s"
        self.waiting[name] = Waiting(reason, message)
