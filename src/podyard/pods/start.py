"""The steps that start a Pod."""

from __future__ import annotations

import asyncio
import time

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, NotFound, PodyardError
from podyard.manifest.model import Container, is_sidecar
from podyard.pods.board import Waiting
from podyard.pods.cleanup import discard_attempt
from podyard.pods.launch import Launcher
from podyard.pods.patience import until_ended
from podyard.pods.prober import Prober
from podyard.pods.removal import remove_folder
from podyard.pods.restarts import BackOff, BackOffPolicy, policy_of, starts_again
from podyard.pods.steps import Steps


class Start:
    """Starts one Pod.

    ``patience``: seconds after which it is looked again for what the Pod is made of (ConfigMaps, Secrets) and what is
    missing; None: that is an error.
    """

    def __init__(
        self,
        client: Client,
        launcher: Launcher,
        steps: Steps,
        back_off: BackOffPolicy,
        *,
        patience: float | None = None,
    ) -> None:
        self._client = client
        self._launcher = launcher
        self._steps = steps
        self._back_off = back_off
        self._patience = patience
        self.sidecars: list[Container] = []
        """Those that have started: they are somebody else's from then on."""

    async def containers(self) -> None:
        """Start a Pod's containers. Raises the error of the step that failed."""
        spec = self._launcher.pod.spec
        for container in (*spec.containers, *spec.ephemeral_containers):
            await self._launcher.launch(container, self._launcher.next_attempt(container.name))

    async def sandbox(self) -> None:
        """Make a Pod's volumes and its sandbox. When that fails, no directories stay that no sandbox has used."""
        name = self._launcher.pod.full_name
        try:
            while not await self._has_volumes():
                pass
            with self._steps.step("running the sandbox of", name) as note:
                await self._launcher.run_sandbox()
                note.detail = " ".join([self._launcher.sandbox_id[:12], *self._launcher.ips])
        except PodyardError:
            if not self._launcher.sandbox_id:
                await self._give_up()
            raise

    async def init_containers(self) -> None:
        """Run a Pod's init containers in their order, sidecars among them, going on where an earlier start ended.

        Raises FailedPrecondition when one has failed for good.
        """
        spec = self._launcher.pod.spec
        if not spec.init_containers:
            return
        last = await last_attempts(self._client, self._launcher.sandbox_id)
        if any(container.name in last for container in spec.containers):
            # All have ended well before. Whoever removed them since wants none to run again beside the containers, and
            # no sidecar that does not start may keep those from being looked after.
            return
        for container in spec.init_containers:
            run = self._run_sidecar if is_sidecar(container) else self._run_init
            await run(container, BackOff(self._back_off), last.get(container.name))
            if is_sidecar(container):
                self.sidecars.append(container)

    async def _has_volumes(self) -> bool:
        """Make the volumes; False where something that they are made of was missing, and it is time to look again."""
        board, containers = self._launcher.board, list(self._launcher.pod.all_containers())
        try:
            with self._steps.step("preparing the volumes of", self._launcher.pod.full_name):
                await self._launcher.prepare_volumes()
        except asyncio.CancelledError:
            await self._give_up()
            raise
        except NotFound as error:
            if self._patience is None:
                raise
            for container in containers:
                board.waiting[container.name] = Waiting("ContainerCreating", str(error))
            await self._give_up()
            await asyncio.sleep(self._patience)
            return False
        for container in containers:
            board.runs(container.name)
        return True

    async def _give_up(self) -> None:
        """Remove the directories of a Pod that never had a sandbox: whoever comes next may not look for them."""
        if self._launcher.is_new:
            await remove_folder(self._launcher.folder)

    async def _launch(self, container: Container, attempt: int) -> str:
        """Start one attempt at a container; its id."""
        while True:
            try:
                return await self._launcher.launch(container, attempt)
            except NotFound:
                waiting = self._launcher.board.waiting.get(container.name, Waiting())
                lacks = waiting.reason == "CreateContainerConfigError" and not self._launcher.folder.stopping.exists()
                if self._patience is None or not lacks:
                    raise
            await asyncio.sleep(self._patience)

    async def _begin(self, container: Container, found: api.Container | None) -> tuple[str, int]:
        """The id and the number of the attempt that is there, started if it never was; else of a new one."""
        if found is None:
            attempt = self._launcher.next_attempt(container.name)
            return await self._launch(container, attempt), attempt
        attempt = found.metadata.attempt
        if found.state == api.CONTAINER_CREATED:
            await self._launcher.go_on(container, found.id)
        elif found.state not in (api.CONTAINER_RUNNING, api.CONTAINER_EXITED):
            attempt += 1
            return await self._launch(container, attempt), attempt
        return found.id, attempt

    async def _run_sidecar(self, container: Container, back_off: BackOff, found: api.Container | None) -> None:
        """Start a sidecar. One with a startup probe is waited for, and started again until that succeeds.

        ``found``: the attempt that is there.
        """
        container_id, attempt = await self._begin(container, found)
        while container.startup_probe is not None:
            status = await self._started_or_ended(container, container_id)
            if status is None:
                return
            wait = back_off.wait(status.finished_at / 1e9, time.time())
            text = f"exit code {status.exit_code} before it had started; starting it again in {wait:.0f} s"
            self._steps.tell("running the sidecar", container.name, "failed", detail=text)
            container_id, attempt = await self._start_again(container, attempt, wait), attempt + 1

    async def _started_or_ended(self, container: Container, container_id: str) -> api.ContainerStatus | None:
        """Wait for a container's startup probe; how it ended before that, None when it has started."""
        status = (await self._client.runtime.container_status(container_id)).status
        prober = Prober(self._client, self._launcher, self._steps)
        started = asyncio.create_task(prober.has_started(container, container_id, status.started_at / 1e9))
        ended = asyncio.create_task(until_ended(self._client, container_id))
        try:
            await asyncio.wait((started, ended), return_when=asyncio.FIRST_COMPLETED)
            return None if started.done() and started.result() else await ended
        finally:
            for task in (started, ended):
                task.cancel()
            await asyncio.wait((started, ended))

    async def _run_init(self, container: Container, back_off: BackOff, found: api.Container | None) -> None:
        """Run an init container until it succeeds, as often as the restart policy allows.

        ``found``: the attempt that is there. Raises FailedPrecondition when it has failed for good.
        """
        ended_before = found is not None and found.state == api.CONTAINER_EXITED
        container_id, attempt = await self._begin(container, found)
        while True:
            began = time.monotonic()
            status = await until_ended(self._client, container_id)
            seconds = time.monotonic() - began
            if status.exit_code == 0:
                if not ended_before:
                    self._steps.tell("running the init container", container.name, seconds=seconds)
                return
            failure = f"exit code {status.exit_code}" + (f" ({status.reason})" if status.reason else "")
            pod = self._launcher.pod
            again = starts_again(pod, container, status.exit_code)
            wait = back_off.wait(status.finished_at / 1e9, time.time()) if again else 0.0
            text = f"{failure}; starting it again in {wait:.0f} s" if again else failure
            self._steps.tell("running the init container", container.name, "failed", detail=text, seconds=seconds)
            if not again:
                raise FailedPrecondition(
                    f"the init container {container.name!r} of {pod.full_name} ended with {failure} and the restart "
                    f"policy is {policy_of(pod, container)}: see its log; podyard rm removes the Pod"
                )
            container_id, attempt = await self._start_again(container, attempt, wait), attempt + 1
            ended_before = False

    async def _start_again(self, container: Container, attempt: int, wait: float) -> str:
        """Start the next attempt at a container after ``wait`` seconds; its id."""
        if wait:
            self._launcher.board.backs_off(container.name, wait)
        await asyncio.sleep(wait)
        if attempt > 0:
            await discard_attempt(self._client, self._launcher, container.name, attempt - 1)
        self._launcher.forget_images(container)
        return await self._launch(container, attempt + 1)


async def last_attempts(client: Client, sandbox_id: str) -> dict[str, api.Container]:
    """The newest attempt at each container in a sandbox, by name."""
    containers = await client.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id))
    return {
        container.metadata.name: container
        for container in sorted(containers, key=lambda container: container.metadata.attempt)
    }
