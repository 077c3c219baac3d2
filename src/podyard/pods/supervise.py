"""While a Pod runs: containers are probed and given the limits of its manifest, those that end are started again as its
restart policy says, and what its volumes show is kept up to date."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Literal

from podyard.client import Client
from podyard.cri import api
from podyard.errors import NotFound, PodyardError
from podyard.manifest.model import Container, Pod, is_sidecar
from podyard.manifest.translate import kind_of
from podyard.pods.board import Waiting
from podyard.pods.changes import Changes
from podyard.pods.cleanup import discard_attempt
from podyard.pods.launch import Launcher
from podyard.pods.patience import in_thread, is_away, patiently
from podyard.pods.prober import Prober
from podyard.pods.projections import REFRESH
from podyard.pods.restarts import BackOff, BackOffPolicy, starts_again
from podyard.pods.start import last_attempts
from podyard.pods.steps import Steps
from podyard.pods.usage import excess, writable_layers
from podyard.pods.verdict import Verdict, write_verdict

Pause = Callable[[str, float], Awaitable[None]]
"""Wait for that many seconds, or until something happens in the sandbox of that id."""

EVICTION_GRACE = 1
"""Seconds that a Pod gets that takes more of the disk than it may: a kubelet's."""
POLL = 1.0
"""Seconds between two looks: as often as a kubelet looks."""


async def just_wait(sandbox_id: str, seconds: float) -> None:
    """A ``Pause`` for whoever follows no events."""
    await asyncio.sleep(seconds)


class Supervisor:
    """Watches one Pod."""

    def __init__(
        self,
        client: Client,
        launcher: Launcher,
        steps: Steps,
        back_off: BackOffPolicy,
        *,
        poll: float,
        refresh: float = REFRESH,
        pause: Pause = just_wait,
    ) -> None:
        self._client = client
        self._launcher = launcher
        self._steps = steps
        self._poll = poll
        self._refresh = refresh
        self._pause = pause
        self._board = launcher.board
        self._prober = Prober(client, launcher, steps)
        self._changes = Changes(client, launcher, steps)
        self._back_off = back_off
        self._waits = {container.name: BackOff(back_off) for container in self._watched(launcher.pod)}
        self._grace = launcher.pod.spec.termination_grace_period_seconds
        self._due: dict[str, float] = {}
        """By ``time.monotonic``: somebody may set the clock meanwhile."""
        self._reported: set[str] = set()

    async def beside(self, work: Coroutine[Any, Any, None], sidecars: Collection[Container]) -> None:
        """Do ``work`` that starts a Pod, and meanwhile look after ``sidecars``: those that it has started by then.

        What comes after them may need them, and would wait for ever for one that ended and is not started again.
        Raises what ``work`` raises, and what the endpoint answers when it cannot be asked.
        """
        working = asyncio.create_task(work)
        try:
            while not working.done():
                await self._look_after(sidecars)
                resting = asyncio.create_task(self._rest())
                try:
                    await asyncio.wait((working, resting), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    resting.cancel()
                    await asyncio.wait((resting,))
            working.result()
        finally:
            working.cancel()
            await asyncio.wait((working,))
            await self._prober.close()

    async def _look_after(self, sidecars: Collection[Container]) -> None:
        if not sidecars:
            return
        folder = self._launcher.folder
        if folder.verdict.exists() or folder.stopping.exists() or not await patiently(self._sandbox_lives):
            await self._prober.look({})
            return
        last = await patiently(self._last_attempts)
        known = [(container, last.get(container.name)) for container in list(sidecars)]
        running = [(container, one) for container, one in known if one and one.state == api.CONTAINER_RUNNING]
        await self._prober.look({one.id: container for container, one in running})
        for container, one in known:
            await self._look_at(container, one)

    async def watch(self) -> None:
        """Return when all containers have ended and none is to be started again, the sandbox is gone or stopped, or the
        Pod is evicted: then its containers still run.

        Containers that run are probed. While somebody stops the Pod nothing is probed or started again. What cannot be
        started is tried again later. Raises what the endpoint answers when it cannot be asked.
        """
        fresh = asyncio.create_task(self._tend_volumes())
        try:
            await self._watch(fresh)
            await self._prober.look({})
        finally:
            fresh.cancel()
            await asyncio.wait((fresh,))
            await self._prober.close()

    async def _watch(self, fresh: asyncio.Task[None]) -> None:
        while await patiently(self._sandbox_lives):
            if fresh.done():
                fresh.result()
            if self._launcher.folder.verdict.exists():
                return
            if self._launcher.folder.stopping.exists():
                await self._prober.look({})
                await self._rest()
                continue
            last = await patiently(self._last_attempts)
            running = self._running(last)
            await self._prober.look({found.id: container for container, found in running})
            for container, found in running:
                await self._changes.look(container, found)
            mains = self._launcher.pod.spec.containers
            ended = [await self._look_at(container, last.get(container.name)) for container in mains]
            if all(ended):
                await self._stop_sidecars()
                return
            for container in self._watched(self._launcher.pod):
                if container not in mains:
                    await self._look_at(container, last.get(container.name))
            await self._rest()

    async def _tend_volumes(self) -> None:
        """Keep them up to date, and see that none holds more than it may."""
        while True:
            await self._launcher.projections.refresh(self._steps)
            try:
                pod, folder = self._launcher.pod, self._launcher.folder
                layers = await writable_layers(self._client, pod, self._launcher.sandbox_id)
                if reason := await in_thread(excess, pod, folder, layers):
                    await in_thread(write_verdict, folder, Verdict("Evicted", reason, grace=EVICTION_GRACE))
                    self._steps.tell("evicting", pod.full_name, detail=reason)
                    return
            except (PodyardError, OSError) as error:
                self._steps.tell("measuring the storage of", self._launcher.pod.full_name, "failed", detail=str(error))
            await asyncio.sleep(self._refresh)

    async def _rest(self) -> None:
        await self._pause(self._launcher.sandbox_id, self._poll)

    def _running(self, last: Mapping[str, api.Container]) -> list[tuple[Container, api.Container]]:
        """The containers that are watched, and run."""
        found = [(container, last.get(container.name)) for container in self._watched(self._launcher.pod)]
        return [(container, one) for container, one in found if one is not None and one.state == api.CONTAINER_RUNNING]

    @staticmethod
    def _watched(pod: Pod) -> list[Container]:
        lasting = [container for container in pod.all_containers() if kind_of(pod, container) != "init"]
        return [*lasting, *pod.spec.ephemeral_containers]

    async def _sandbox_lives(self) -> bool:
        try:
            response = await self._client.runtime.pod_sandbox_status(self._launcher.sandbox_id)
        except NotFound:
            return False
        return response.status.state == api.SANDBOX_READY

    async def _last_attempts(self) -> dict[str, api.Container]:
        return await last_attempts(self._client, self._launcher.sandbox_id)

    async def _look_at(self, container: Container, last: api.Container | None) -> bool:
        """Start a container again if it is time. Whether it has ended for good."""
        if last is not None and last.state == api.CONTAINER_RUNNING:
            self._due.pop(container.name, None)
            return False
        # One that is missing, was never started, or cannot be told apart counts as failed just now.
        exit_code, finished_at = 1, time.time()
        if last is not None and last.state == api.CONTAINER_EXITED:
            try:
                status = (await patiently(lambda: self._client.runtime.container_status(last.id))).status
            except NotFound:
                return False  # removed just now: the next look will tell
            exit_code, finished_at = status.exit_code, status.finished_at / 1e9
            self._report(status)
            if status.id in self._board.unhealthy:
                exit_code = exit_code or 1
        replaced = last is not None and last.id in self._board.replaced
        if _has_run(last) and not replaced and not starts_again(self._launcher.pod, container, exit_code):
            return True
        if container.name not in self._due:
            wait = self._waits[container.name].wait(finished_at, time.time())
            self._due[container.name] = time.monotonic() + wait
            if wait:
                self._board.backs_off(container.name, wait)
            if _has_run(last):
                self._steps.tell("starting again", container.name, detail=f"in {wait:.0f} s" if wait else "at once")
            elif wait:
                self._steps.tell("waiting to start", container.name, detail=self._board.waiting[container.name].reason)
        if self._due[container.name] <= time.monotonic():
            del self._due[container.name]
            await self._start(container, last)
        return False

    def _report(self, status: api.ContainerStatus) -> None:
        if status.id in self._reported:
            return
        self._reported.add(status.id)
        text = f"exit code {status.exit_code}" + (f" ({status.reason})" if status.reason else "")
        state: Literal["failed", "done"] = "failed" if status.exit_code else "done"
        self._steps.tell("running the container", status.metadata.name, state, detail=text)

    async def _start(self, container: Container, last: api.Container | None) -> None:
        try:
            if last is not None and last.state == api.CONTAINER_CREATED:
                await self._launcher.go_on(container, last.id)
            else:
                await self._launch(container, last)
            if last is None or not _has_run(last):
                # Waits before the first start count for themselves.
                self._waits[container.name] = BackOff(self._back_off)
            else:
                self._board.unhealthy.discard(last.id)
                self._board.replaced.discard(last.id)
        except PodyardError as error:
            # The next look finds the container ended, or missing, and waits longer.
            if is_away(error):
                self._due[container.name] = time.monotonic()  # the container did not fail
            elif self._board.waiting.get(container.name, Waiting()).reason == "CreateContainerConfigError":
                self._waits[container.name].start_over()  # what it lacks may be there at any time
            self._steps.tell("starting again", container.name, "failed", detail=str(error))

    async def _launch(self, container: Container, last: api.Container | None) -> None:
        """Start the attempt after the last one."""
        attempt = self._launcher.next_attempt(container.name) if last is None else last.metadata.attempt + 1
        if last is not None and last.state != api.CONTAINER_EXITED:
            await self._client.runtime.stop_container(last.id, self._grace)
        if attempt > 1:
            await discard_attempt(self._client, self._launcher, container.name, attempt - 2)
        self._launcher.forget_images(container)
        await self._launcher.launch(container, attempt)

    async def _stop_sidecars(self) -> None:
        """In reverse: one may need those before it."""
        last = await patiently(self._last_attempts)
        for container in reversed(self._launcher.pod.spec.init_containers):
            found = last.get(container.name)
            if is_sidecar(container) and found is not None and found.state == api.CONTAINER_RUNNING:
                with self._steps.step("stopping the sidecar", container.name):
                    await self._launcher.stop(container, found.id, self._grace)


def _has_run(last: api.Container | None) -> bool:
    """Whether an attempt was started at all."""
    return last is not None and last.state != api.CONTAINER_CREATED
