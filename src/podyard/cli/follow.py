"""Pods while one watches: their logs as they come, and their containers started again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from podyard.cli.loglines import Printer
from podyard.cli.output import printable

if TYPE_CHECKING:
    from podyard.manifest.model import Pod
    from podyard.pods import PodEngine, PodEvent, PodView


async def follow_pods(engine: PodEngine, pods: Sequence[tuple[Pod, PodView]]) -> None:
    """Print what the Pods' containers write and supervise them, until all have ended.

    Raises what went wrong first.
    """
    with_pod = len(pods) > 1
    names = [_name(running, view.name, with_pod) for _, running in pods for view in running.containers]
    try:
        async with Printer(names, prefixed=len(names) > 1) as printer, asyncio.TaskGroup() as group:
            for pod, running in pods:
                follower = Follower(engine, running, printer, group, with_pod=with_pod)
                follower.adopt(running)
                group.create_task(engine.supervise(pod, running, follower.event))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


class Follower:
    """Follows the logs of one Pod's containers, of each attempt after the one before it."""

    def __init__(
        self, engine: PodEngine, pod: PodView, printer: Printer, group: asyncio.TaskGroup, *, with_pod: bool
    ) -> None:
        self._engine = engine
        self._pod = pod
        self._printer = printer
        self._group = group
        self._with_pod = with_pod
        self._known: set[str] = set()
        self._last: dict[str, asyncio.Task[None]] = {}

    def adopt(self, pod: PodView) -> None:
        """Follow the containers that are new in this view of the Pod."""
        for view in pod.containers:
            if view.id not in self._known and view.log_path is not None:
                self._known.add(view.id)
                before = self._last.get(view.name)
                self._last[view.name] = self._group.create_task(self._follow(pod, view.name, before))

    def event(self, event: PodEvent) -> None:
        """Tell what the supervisor does, and look for the container that it has started."""
        if event.state == "begun":
            return
        failed = "failed: " if event.state == "failed" else ""
        detail = f" ({failed}{event.detail})" if event.detail else ""
        print(printable(f"-- {event.step} {event.subject}{detail}"), file=sys.stderr, flush=True)
        if event.state == "done":
            self._group.create_task(self._look())

    async def _look(self) -> None:
        for pod in await self._engine.find(self._pod.name, self._pod.namespace):
            if pod.sandbox_id == self._pod.sandbox_id:
                self.adopt(pod)

    async def _follow(self, pod: PodView, name: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        async for line in self._engine.logs(pod, [name], following=True):
            await self._printer.line(line, _name(pod, name, self._with_pod))


def _name(pod: PodView, container: str, with_pod: bool) -> str:
    return f"{pod.name}/{container}" if with_pod else container
