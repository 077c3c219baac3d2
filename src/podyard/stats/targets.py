"""What is measured: the parts of sandboxes and containers that matter here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podyard.cri import api


@dataclass(frozen=True, kw_only=True)
class ContainerTarget:
    """A container."""

    id: str
    attributes: api.ContainerAttributes
    image: str
    """As the request names it."""
    cgroup: str
    """Its path from the hierarchy's root; "" once the container has ended."""
    pid: int
    """Of its first process; 0 once the container has ended."""
    started_at: int
    """Nanoseconds since 1970; 0: not yet."""
    writable: Path
    """Its writable layer."""


@dataclass(frozen=True, kw_only=True)
class SandboxTarget:
    """A sandbox, with those of its containers that have a process."""

    id: str
    attributes: api.PodSandboxAttributes
    ready: bool
    cgroup: str
    """The cgroup above its containers; "" where it has none to itself."""
    infra_cgroup: str
    """Of its infra process, where that is in no cgroup of the sandbox; "" otherwise."""
    network: Path | None
    """Its pinned network namespace; None for the host's."""
    containers: tuple[ContainerTarget, ...]
