"""When a container that ended is started again (Kubernetes documentation, "Pod Lifecycle")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podyard.manifest.model import Container, Pod
from podyard.manifest.translate import kind_of

RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True, kw_only=True)
class BackOffPolicy:
    """How long to wait before a container is started again; seconds."""

    first: float = 10.0
    longest: float = 300.0
    reset: float = 600.0
    """A container that ran so long starts over with the first wait."""


def policy_of(pod: Pod, container: Container) -> RestartPolicy:
    """A container's own restart policy, or the Pod's."""
    return container.restart_policy or pod.spec.restart_policy


def starts_again(pod: Pod, container: Container, exit_code: int) -> bool:
    """Whether a container that ended is to be started again: an init container is when it failed, a sidecar always, an
    ephemeral one never."""
    kind, policy = kind_of(pod, container), policy_of(pod, container)
    if kind in ("ephemeral", "sidecar"):
        return kind == "sidecar"
    if kind == "init" and exit_code == 0:
        return False
    if any(rule.exit_codes.match(exit_code) for rule in container.restart_policy_rules):
        return True
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


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
            # A clock that was set back since says that it ends in the future.
            wait = min(max(0.0, ended_at + self._next - now), self._next)
            self._next = min(self._next * 2, self._policy.longest)
        self._restarted_at = now + wait
        return wait

    def start_over(self) -> None:
        """Let the next wait be the first one, whatever was waited before."""
        self._next = self._policy.first
