"""What a source of Pods is, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from podyard.manifest.model import Pod

ORIGIN = "podyard.io/origin"
"""Annotation of every Pod of the node, by which the next agent knows its own: the file or the URL of its manifest, or
the node that an API server has it bound to."""
CONFIG_SOURCE = "kubernetes.io/config.source"
"""Annotation by which tools know static Pods: "file", "http" or "api"."""


@dataclass(frozen=True)
class Ending:
    """A Pod that is to be stopped and removed. ``grace``: seconds, instead of what it says itself."""

    pod: Pod | None
    grace: int | None


@dataclass(frozen=True)
class Wanted:
    """What a look at a source says."""

    pods: dict[str, Pod] = field(default_factory=dict)
    """What is to run, by full name, ``namespace/name``."""
    held: frozenset[str] = frozenset()
    """Origins that cannot be read now: whatever runs of them is left alone."""
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong, by origin."""
    blind: bool = False
    """Whether nothing is known of the source now: all that is its own is left alone."""
    ending: Mapping[str, Ending] = field(default_factory=dict)
    """What somebody asked to end, by full name."""
    left: frozenset[str] = frozenset()
    """Full names of Pods that have ended for good: they are neither started nor removed."""


@dataclass(frozen=True)
class Rejection:
    """Why a Pod is not taken: one of Kubernetes' words, and a sentence."""

    reason: str
    message: str


class Source(Protocol):
    """Says which Pods the node is to run."""

    def owns(self, origin: str) -> bool:
        """Whether a Pod with that ``ORIGIN`` is one of this source's."""

    async def wanted(self) -> Wanted:
        """What it asks for now."""


def marked(pod: Pod, origin: str, source: str, node: str = "") -> Pod:
    """A Pod of the node's own with its origin in its annotations.

    ``node``: the node's name in a cluster; it becomes part of the Pod's, since nodes may have the same manifests.
    Such a Pod is known by its manifest; a uid that somebody wrote there does not count.
    """
    annotations = {**pod.metadata.annotations, CONFIG_SOURCE: source, ORIGIN: origin}
    metadata = replace(pod.metadata, uid="", annotations=annotations)
    if not node:
        return replace(pod, metadata=metadata)
    metadata = replace(metadata, name=f"{metadata.name}-{node}")
    return replace(pod, metadata=metadata, spec=replace(pod.spec, node_name=node))
