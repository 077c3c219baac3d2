"""When a container that ended is started again (Kubernetes documentation, "Pod Lifecycle")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podyard.pods.views import ContainerKind

RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True, kw_only=True)
class BackOffPolicy:
    """How long to wait before a container is started again; seconds."""

    first: float = 10.0
    longest: float = 300.0
    reset: float = 600.0
    """A container that ran so long starts over with the first wait."""


def starts_again(policy: RestartPolicy, kind: ContainerKind, exit_code: int) -> bool:
    """Whether a container that ended is to be started again: an init container is when it failed, a sidecar always, an
    ephemeral one never."""
    if kind == "ephemeral":
        return False
    if kind == "sidecar" or (policy == "Always" and kind == "container"):
        return True
    return policy != "Never" and exit_code != 0


class BackOff:
    """The waits of one container: none before the first restart, then ``first`` seconds after its end, doubling."""

    def __init__(self, policy: BackOffPolicy) -> None:
        self._policy = policy
        self._next = 0.0
        self._restarted_at = 0.0

    def wait(self, ended_at: float, now: float) -> float:
        """Seconds to wait, now, before the restart that follows this call. Times: seconds since 1970."""
        if not self._next or ended_at - self._restarted_at > self._policy.reset:
            self._next, wait = self._policy.first, 0.0
        else:
            wait = max(0.0, ended_at + self._next - now)
            self._next = min(self._next * 2, self._policy.longest)
        self._restarted_at = now + wait
        return wait

    def start_over(self) -> None:
        """Let the next wait be the first one, whatever was waited before."""
        self._next = self._policy.first
