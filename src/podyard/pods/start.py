"""The steps that start a Pod."""

from __future__ import annotations

import asyncio
import time

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, PodyardError
from podyard.manifest.model import Container, is_sidecar
from podyard.pods.cleanup import discard_attempt
from podyard.pods.launch import Launcher
from podyard.pods.patience import until_ended
from podyard.pods.prober import Prober
from podyard.pods.removal import remove_folder
from podyard.pods.restarts import BackOff, BackOffPolicy, starts_again
from podyard.pods.steps import Steps


async def start(client: Client, launcher: Launcher, steps: Steps, back_off: BackOffPolicy) -> None:
    """Start a Pod: images, volumes, sandbox, init containers one after the other, then the containers.

    Raises the error of the step that failed. What was made by then stays for inspection, but for directories that no
    sandbox uses.
    """
    await launcher.fetch_images()
    await start_sandbox(launcher, steps)
    await start_init_containers(client, launcher, steps, back_off)
    for container in (*launcher.pod.spec.containers, *launcher.pod.spec.ephemeral_containers):
        await launcher.launch(container, 0)


async def start_sandbox(launcher: Launcher, steps: Steps) -> None:
    """Make a Pod's volumes and its sandbox."""
    pod = launcher.pod
    try:
        with steps.step("preparing the volumes of", pod.full_name):
            await launcher.prepare_volumes()
        with steps.step("running the sandbox of", pod.full_name) as note:
            await launcher.run_sandbox()
            note.detail = " ".join([launcher.sandbox_id[:12], *launcher.ips])
    except PodyardError:
        if not launcher.sandbox_id:
            await remove_folder(launcher.folder)
        raise


async def start_init_containers(client: Client, launcher: Launcher, steps: Steps, back_off: BackOffPolicy) -> None:
    """Run a Pod's init containers in their order, sidecars among them, going on where an earlier start ended.

    Raises FailedPrecondition when one has failed for good.
    """
    if not launcher.pod.spec.init_containers:
        return
    last = await last_attempts(client, launcher.sandbox_id)
    for container in launcher.pod.spec.init_containers:
        found = last.get(container.name)
        run = _run_sidecar if is_sidecar(container) else _run_init
        await run(client, launcher, steps, container, back_off=BackOff(back_off), found=found)


async def last_attempts(client: Client, sandbox_id: str) -> dict[str, api.Container]:
    """The newest attempt at each container in a sandbox, by name."""
    containers = await client.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id))
    return {
        container.metadata.name: container
        for container in sorted(containers, key=lambda container: container.metadata.attempt)
    }


async def _run_sidecar(
    client: Client,
    launcher: Launcher,
    steps: Steps,
    container: Container,
    *,
    back_off: BackOff,
    found: api.Container | None,
) -> None:
    """Start a sidecar. One with a startup probe is waited for, and started again until that succeeds.

    ``found``: the attempt that is there.
    """
    found, attempt = _begun(found)
    container_id = await launcher.launch(container, attempt) if found is None else found.id
    while container.startup_probe is not None:
        status = await _started_or_ended(client, launcher, steps, container, container_id)
        if status is None:
            return
        wait = back_off.wait(status.finished_at / 1e9, time.time())
        text = f"exit code {status.exit_code} before it had started; starting it again in {wait:.0f} s"
        steps.tell("running the sidecar", container.name, "failed", detail=text)
        container_id, attempt = await _start_again(client, launcher, container, attempt, wait), attempt + 1


async def _started_or_ended(
    client: Client, launcher: Launcher, steps: Steps, container: Container, container_id: str
) -> api.ContainerStatus | None:
    """Wait for a container's startup probe; how it ended before that, None when it has started."""
    status = (await client.runtime.container_status(container_id)).status
    prober = Prober(client, launcher, steps)
    started = asyncio.create_task(prober.has_started(container, container_id, status.started_at / 1e9))
    ended = asyncio.create_task(until_ended(client, container_id))
    try:
        await asyncio.wait((started, ended), return_when=asyncio.FIRST_COMPLETED)
        return None if started.done() and started.result() else await ended
    finally:
        for task in (started, ended):
            task.cancel()
        await asyncio.wait((started, ended))


async def _start_again(client: Client, launcher: Launcher, container: Container, attempt: int, wait: float) -> str:
    """Start the next attempt at a container after ``wait`` seconds; its id."""
    if wait:
        launcher.board.backs_off(container.name, wait)
    await asyncio.sleep(wait)
    if attempt > 0:
        await discard_attempt(client, launcher, container.name, attempt - 1)
    launcher.forget_images(container)
    return await launcher.launch(container, attempt + 1)


async def _run_init(
    client: Client,
    launcher: Launcher,
    steps: Steps,
    container: Container,
    *,
    back_off: BackOff,
    found: api.Container | None,
) -> None:
    """Run an init container until it succeeds, as often as the restart policy allows.

    ``found``: the attempt that is there. Raises FailedPrecondition when it has failed for good.
    """
    found, attempt = _begun(found)
    ended_before = found is not None and found.state == api.CONTAINER_EXITED
    container_id = await launcher.launch(container, attempt) if found is None else found.id
    while True:
        began = time.monotonic()
        status = await until_ended(client, container_id)
        seconds = time.monotonic() - began
        if status.exit_code == 0:
            if not ended_before:
                steps.tell("running the init container", container.name, seconds=seconds)
            return
        failure = f"exit code {status.exit_code}" + (f" ({status.reason})" if status.reason else "")
        policy = launcher.pod.spec.restart_policy
        if not starts_again(policy, "init", status.exit_code):
            steps.tell("running the init container", container.name, "failed", detail=failure, seconds=seconds)
            raise FailedPrecondition(
                f"the init container {container.name!r} of {launcher.pod.full_name} ended with {failure} and the "
                f"restart policy is {policy}: see its log; podyard rm removes the Pod"
            )
        wait = back_off.wait(status.finished_at / 1e9, time.time())
        text = f"{failure}; starting it again in {wait:.0f} s"
        steps.tell("running the init container", container.name, "failed", detail=text, seconds=seconds)
        container_id, attempt = await _start_again(client, launcher, container, attempt, wait), attempt + 1
        ended_before = False


def _begun(found: api.Container | None) -> tuple[api.Container | None, int]:
    """The attempt that is there if it was ever started, and its number, else that of the next one."""
    if found is None:
        return None, 0
    if found.state in (api.CONTAINER_RUNNING, api.CONTAINER_EXITED):
        return found, found.metadata.attempt
    return None, found.metadata.attempt + 1
