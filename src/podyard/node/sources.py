"""All sources of Pods together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from podyard.manifest.model import Pod
from podyard.node.wanted import ORIGIN, Ending, Source, Wanted
from podyard.pods import PodView

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """What all sources ask for at one time."""

    pods: dict[str, Pod]
    ending: dict[str, Ending]
    left: frozenset[str]
    said: Sequence[tuple[Source, Wanted]]

    def holds(self, origin: str) -> bool:
        """Whether the origin cannot be asked now, so that what runs of it is left alone."""
        return any(source.owns(origin) and (said.blind or origin in said.held) for source, said in self.said)


class Sources:
    """Looks at several sources. Of two Pods of one name the earlier source's counts."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._problems: dict[str, str] = {}

    def add(self, source: Source) -> None:
        """Look at one source more."""
        self._sources.append(source)

    def owns(self, view: PodView) -> bool:
        """Whether a Pod is one of theirs."""
        return any(source.owns(view.annotations.get(ORIGIN, "")) for source in self._sources)

    async def look(self) -> Look:
        """What they ask for now. What is wrong is logged once."""
        said = [(source, await source.wanted()) for source in self._sources]
        look = Look({}, {}, frozenset().union(*(wanted.left for _, wanted in said)), said)
        problems: dict[str, str] = {}
        for _, wanted in said:
            problems |= wanted.problems
            for name, pod in wanted.pods.items():
                first = look.pods.setdefault(name, pod)
                if first is not pod:
                    origin, other = (one.metadata.annotations[ORIGIN] for one in (pod, first))
                    problems[f"{origin} {name}"] = (
                        f"{origin}: the Pod {name} comes from {other} already: that one is run"
                    )
            look.ending.update({name: ending for name, ending in wanted.ending.items() if name not in look.pods})
        for origin, problem in problems.items():
            if self._problems.get(origin) != problem:
                logger.error("%s", problem)
        self._problems = problems
        return look
