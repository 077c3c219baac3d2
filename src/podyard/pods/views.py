"""What the engine tells of Pods and of its own steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from podyard.manifest.model import LifecycleHandler
from podyard.pods.verdict import Verdict

ContainerKind = Literal["init", "sidecar", "container", "ephemeral"]


@dataclass(frozen=True, kw_only=True)
class PodEvent:
    """One step of the engine begins, is done, or has failed.

    ``step`` completes "while …" ("starting the container"), ``subject`` is what it works on (a name or an image),
    ``seconds`` is None while the step lasts, ``detail`` one line more or "".
    """

    step: str
    subject: str
    state: Literal["begun", "done", "failed"]
    seconds: float | None = None
    detail: str = ""


OnEvent = Callable[[PodEvent], None]


def ignore(event: PodEvent) -> None:
    """An ``OnEvent`` for callers that do not watch."""


@dataclass(frozen=True, kw_only=True)
class ContainerView:
    """A container of a Pod: one attempt at it."""

    name: str
    id: str
    state: Literal["created", "running", "exited", "unknown"]
    exit_code: int
    """0 until it has ended."""
    reason: str
    """"Completed", "Error", "OOMKilled", "StartError" or ""."""
    restarts: int
    """How often it was started again before: the number of the attempt."""
    log_path: Path | None
    """None where it has no log."""
    init: bool
    kind: ContainerKind = "container"
    image: str = ""
    """As the manifest names it, where the endpoint keeps that; else the image's id."""
    image_ref: str = ""
    """What the endpoint calls the image that it was made from."""
    pre_stop: LifecycleHandler | None = None
    """What is done before it is stopped."""
    message: str = ""
    """Its termination message, or why it could not be started."""
    grace: int = 30
    """Seconds that it is given to end by itself when it is stopped."""
    created_at: int = 0
    """Nanoseconds since 1970, as the next two; 0 stands for "not yet"."""
    started_at: int = 0
    finished_at: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.state == "exited" and self.exit_code == 0

    @property
    def never_ran(self) -> bool:
        """Whether its program was never reached."""
        return self.state == "created" or (self.state == "exited" and self.reason in _START_FAILURES)


_START_FAILURES = frozenset({"StartError", "ContainerCannotRun"})


@dataclass(frozen=True, kw_only=True)
class PodView:
    """A Pod as its newest sandbox and the containers in it show it."""

    name: str
    namespace: str
    uid: str
    sandbox_id: str
    attempt: int = 0
    """How many sandboxes it had before."""
    ips: tuple[str, ...]
    containers: tuple[ContainerView, ...]
    """The newest attempt at each container: init containers and sidecars first, then by age."""
    earlier: tuple[ContainerView, ...] = ()
    """Ended attempts before those, the newest first."""
    ready: bool = False
    """Whether the sandbox is: its namespaces live."""
    created_at: int = 0
    handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    """Why it was ended for good, where that was done to it."""
    sandboxes: tuple[str, ...] = ()
    """All sandboxes of this Pod, the newest first."""

    @property
    def full_name(self) -> str:
        """``namespace/name``, how messages name a Pod."""
        return f"{self.namespace}/{self.name}"

    @property
    def running(self) -> bool:
        """Whether a container of it runs."""
        return self.ready and any(container.state == "running" for container in self.containers)


RunningPod = PodView
"""What ``PodEngine.run`` returns: the Pod as it was when its last container had started."""
