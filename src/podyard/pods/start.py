"""What ``podyard run`` does: the steps that start a Pod."""

from __future__ import annotations

import asyncio
import time

from podyard.client import Client
from podyard.errors import FailedPrecondition, PodyardError
from podyard.manifest.model import Container, is_sidecar
from podyard.pods.cleanup import discard_attempt
from podyard.pods.host_mounts import remove_tree
from podyard.pods.launch import Launcher
from podyard.pods.patience import until_ended
from podyard.pods.restarts import BackOff, BackOffPolicy, starts_again
from podyard.pods.steps import Steps


async def start(client: Client, launcher: Launcher, steps: Steps, back_off: BackOffPolicy) -> None:
    """Start a Pod: images, volumes, sandbox, init containers one after the other, then the containers.

    Raises the error of the step that failed. What was made by then stays for inspection, but for directories that no
    sandbox uses.
    """
    pod = launcher.pod
    await launcher.fetch_images()
    try:
        with steps.step("preparing the volumes of", pod.full_name):
            await launcher.prepare_volumes()
        with steps.step("running the sandbox of", pod.full_name) as note:
            await launcher.run_sandbox()
            note.detail = " ".join([launcher.sandbox_id[:12], *launcher.ips])
    except PodyardError:
        if not launcher.sandbox_id:
            for path in (launcher.folder.path, launcher.folder.logs):
                await asyncio.to_thread(remove_tree, path)
        raise
    for container in pod.spec.init_containers:
        if is_sidecar(container):
            await launcher.launch(container, 0)
        else:
            await _run_init(client, launcher, steps, container, BackOff(back_off))
    for container in pod.spec.containers:
        await launcher.launch(container, 0)


async def _run_init(client: Client, launcher: Launcher, steps: Steps, container: Container, back_off: BackOff) -> None:
    """Run an init container until it succeeds, as often as the restart policy allows.

    Raises FailedPrecondition when it has failed for good.
    """
    attempt = 0
    while True:
        container_id = await launcher.launch(container, attempt)
        began = time.monotonic()
        status = await until_ended(client, container_id)
        seconds = time.monotonic() - began
        if status.exit_code == 0:
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
        await asyncio.sleep(wait)
        if attempt > 0:
            await discard_attempt(client, launcher, container.name, attempt - 1)
        attempt += 1
        launcher.forget_image(container)
