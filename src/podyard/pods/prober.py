"""Runs the probes of a Pod's containers, and acts on what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from podyard.client import Client
from podyard.errors import NotFound, PodyardError
from podyard.manifest.model import Container, Probe
from podyard.pods.actions import Actions
from podyard.pods.launch import Launcher
from podyard.pods.patience import patiently
from podyard.pods.probes import Probing
from podyard.pods.steps import Steps


class Prober:
    """Probes the containers of one Pod that run, and keeps their answers on its board.

    A container whose startup or liveness probe has failed is stopped; starting it again is the supervisor's.
    """

    def __init__(self, client: Client, launcher: Launcher, steps: Steps) -> None:
        self._client = client
        self._launcher = launcher
        self._steps = steps
        self._board = launcher.board
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def look(self, running: Mapping[str, Container]) -> None:
        """Probe these containers, by their ids, and no others."""
        for container_id in [known for known in self._tasks if known not in running]:
            await self._end(container_id)
        for container_id, container in running.items():
            task = self._tasks.get(container_id)
            if task is not None and task.done():
                task.result()
            if task is None or (task.done() and container_id not in self._board.unhealthy):
                self._tasks[container_id] = asyncio.create_task(self._watch(container, container_id))

    async def close(self) -> None:
        """Probe nothing any more. The last answers stay on the board for whoever goes on."""
        for container_id in list(self._tasks):
            await self._cancel(container_id)

    async def _cancel(self, container_id: str) -> None:
        task = self._tasks.pop(container_id)
        task.cancel()
        await asyncio.wait([task])

    async def _end(self, container_id: str) -> None:
        await self._cancel(container_id)
        self._board.started.discard(container_id)
        self._board.ready.discard(container_id)

    async def _watch(self, container: Container, container_id: str) -> None:
        """From the start of a container to its end; ends early when the container was stopped, or is gone."""
        try:
            status = (await patiently(lambda: self._client.runtime.container_status(container_id))).status
        except NotFound:
            return  # the next look tells
        except PodyardError as error:
            self._steps.tell("beginning to probe", container.name, "failed", detail=str(error))
            return
        started_at = status.started_at / 1e9
        if not await self.has_started(container, container_id, started_at):
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_ready(container, container_id, started_at))
            group.create_task(self._keep_alive(container, container_id, started_at))

    async def has_started(self, container: Container, container_id: str, started_at: float) -> bool:
        """Wait for a container's startup probe: whether it succeeded, and was not stopped for its failure.

        ``started_at``: seconds since 1970. A container that has ended is asked for ever.
        """
        if container_id in self._board.started or await self._startup_succeeds(container, container_id, started_at):
            self._board.started.add(container_id)
            return True
        return False

    async def _startup_succeeds(self, container: Container, container_id: str, started_at: float) -> bool:
        probe = container.startup_probe
        if probe is None:
            return True
        async with aclosing(self._verdicts("startup", probe, container, container_id, started_at)) as verdicts:
            async for success in verdicts:
                if success:
                    return True
                if await self._stop(container, container_id, probe):
                    return False
        return False

    async def _keep_alive(self, container: Container, container_id: str, started_at: float) -> None:
        probe = container.liveness_probe
        if probe is None:
            return
        async with aclosing(self._verdicts("liveness", probe, container, container_id, started_at)) as verdicts:
            async for success in verdicts:
                if not success and await self._stop(container, container_id, probe):
                    return

    async def _keep_ready(self, container: Container, container_id: str, started_at: float) -> None:
        probe = container.readiness_probe
        if probe is None:
            self._board.ready.add(container_id)
            return
        async with aclosing(self._verdicts("readiness", probe, container, container_id, started_at)) as verdicts:
            async for success in verdicts:
                if success:
                    self._board.ready.add(container_id)
                else:
                    self._board.ready.discard(container_id)

    async def _verdicts(
        self, kind: str, probe: Probe, container: Container, container_id: str, started_at: float
    ) -> AsyncGenerator[bool, None]:
        """Whether the probe succeeds, each time that a threshold was reached and it is news."""
        # Whoever sets the clock, now or since the start, neither hurries nor holds up the probe.
        age = max(0.0, time.time() - started_at)
        probing = Probing(probe, time.monotonic() - age)
        actions = Actions(self._client, self._launcher.ips)
        (action,) = probe.actions
        while True:
            await asyncio.sleep(probing.wait(time.monotonic()))
            probing.asked(time.monotonic())
            try:
                failure = await actions.perform(action, container_id, container, probe.timeout_seconds)
            except PodyardError:
                self._board.probed[container.name, kind, "unknown"] += 1
                continue  # nobody could be asked, which says nothing of the container; as kubelets do
            self._board.probed[container.name, kind, "failed" if failure else "successful"] += 1
            known = probing.result
            if not probing.answered(not failure):
                continue
            if known is not probing.result or not failure:
                state = f"running the {kind} probe of"
                self._steps.tell(state, container.name, "failed" if failure else "done", detail=failure)
            yield not failure

    async def _stop(self, container: Container, container_id: str, probe: Probe) -> bool:
        """Stop a container for its probe; whether that could be done."""
        grace = probe.termination_grace_period_seconds
        if grace is None:
            grace = self._launcher.pod.spec.termination_grace_period_seconds
        self._board.unhealthy.add(container_id)
        self._board.ready.discard(container_id)
        try:
            with self._steps.step("stopping, for its probe failed,", container.name):
                await self._launcher.stop(container, container_id, grace)
        except PodyardError:
            return False  # the step has told it; the probe fails again after as many answers
        return True
