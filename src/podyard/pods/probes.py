"""What the answers to a probe mean (Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes")."""

from __future__ import annotations

from podyard.manifest.model import Probe


class Probing:
    """One probe of one container that runs: when to ask next, and what the answers so far say.

    Times are seconds of any one clock. ``result`` is None until a threshold is reached for the first time.
    """

    def __init__(self, probe: Probe, started_at: float) -> None:
        self.result: bool | None = None
        self._probe = probe
        self._next = started_at + probe.initial_delay_seconds
        self._last: bool | None = None
        self._count = 0

    def wait(self, now: float) -> float:
        """Seconds until it is time to ask."""
        return max(0.0, self._next - now)

    def asked(self, now: float) -> None:
        """It is being asked now: the next time is a period later. Answers that come late do not pile up."""
        self._next = now + self._probe.period_seconds

    def answered(self, success: bool) -> bool:
        """Take an answer in. Whether ``result`` is another one now, or a failure again."""
        self._count = self._count + 1 if success is self._last else 1
        self._last = success
        needed = self._probe.success_threshold if success else self._probe.failure_threshold
        if self._count < needed:
            return False
        changed = self.result is not success
        self.result = success
        if not success:
            self._count = 0  # whoever stops the container for it may fail, and is asked again after as many failures
        return changed or not success
