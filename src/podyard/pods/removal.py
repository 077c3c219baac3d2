"""Stop and remove a Pod: idempotent, going on past what fails, telling what could not be done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from podyard.client import Client
from podyard.errors import NotFound, PodyardError
from podyard.pods.folders import Folders, PodFolder
from podyard.pods.host_mounts import remove_tree
from podyard.pods.steps import Steps
from podyard.pods.stopping import LEAST, stop_container
from podyard.pods.views import ContainerView, PodView


async def stop_pod(client: Client, pod: PodView, grace: int | None, steps: Steps) -> list[PodyardError]:
    """Stop a Pod's containers, side by side, sidecars after them in reverse, then its sandboxes. What failed.

    ``grace``: seconds for a container to end by itself; None: what its Pod says, or whoever ended it for good.
    """
    if grace is None and pod.verdict is not None:
        grace = pod.verdict.grace
    lasting = [view for view in pod.containers if view.state in ("running", "unknown")]
    mains = [view for view in lasting if view.kind != "sidecar"]
    began = time.monotonic()
    failures = await _all(_stop(client, pod, view, _given(view, grace), steps) for view in mains)
    for view in reversed([view for view in lasting if view.kind == "sidecar"]):
        left = _given(view, grace) - int(time.monotonic() - began)
        # The containers may have used up the Pod's time.
        least = LEAST if _given(view, grace) > 0 else 0
        failures += await _all([_stop(client, pod, view, max(left, least), steps)])
    for sandbox_id in pod.sandboxes:
        failures += await _all([_stop_sandbox(client, pod, sandbox_id, steps)])
    return failures


async def remove_pod(client: Client, pod: PodView, grace: int | None, steps: Steps) -> list[PodyardError]:
    """Stop a Pod and remove its containers and sandboxes. What failed."""
    failures = await stop_pod(client, pod, grace, steps)
    removed = await remove_stopped(client, pod, steps)
    return failures + removed if removed else []


async def remove_stopped(client: Client, pod: PodView, steps: Steps) -> list[PodyardError]:
    """Remove a Pod's containers and sandboxes, by force what still runs. What failed."""
    everything = [*pod.containers, *pod.earlier]
    failures = await _all(_gone(client.runtime.remove_container, view.id) for view in everything)
    removed = await _all(_remove_sandbox(client, pod, sandbox_id, steps) for sandbox_id in pod.sandboxes)
    # A sandbox takes with it whatever failed to be stopped or removed in it.
    return failures + removed if removed else []


async def remove_folders(
    client: Client, folders: Folders, namespace: str, name: str, steps: Steps
) -> list[PodyardError]:
    """Remove the directories of all the endpoint's Pods of that name: volumes, managed files, logs. What failed."""
    failures = []
    left = await asyncio.to_thread(folders.left, namespace, name, client.endpoint)
    if not left:
        return []
    try:
        with steps.step("removing the files of", f"{namespace}/{name}"):
            for path in left:
                await asyncio.to_thread(remove_tree, path)
    except PodyardError as error:
        failures.append(error)
    return failures


async def remove_folder(folder: PodFolder) -> None:
    """Remove the directories of one Pod: volumes, managed files, logs."""
    for path in (folder.logs, folder.path):  # logs are found by the other
        await asyncio.to_thread(remove_tree, path)


def combined(failures: list[PodyardError]) -> PodyardError:
    """The first failure, with the texts of the others."""
    texts = dict.fromkeys(str(failure) for failure in failures)
    error = type(failures[0])("; ".join(texts))
    error.__cause__ = failures[0]
    return error


def _given(view: ContainerView, grace: int | None) -> int:
    return view.grace if grace is None else grace


async def _stop(client: Client, pod: PodView, view: ContainerView, grace: int, steps: Steps) -> None:
    hook = view.pre_stop if view.state == "running" else None
    with steps.step("stopping the container", view.name):
        await _gone(stop_container, client, view.id, view.name, grace, hook=hook, ips=pod.ips, steps=steps)


async def _stop_sandbox(client: Client, pod: PodView, sandbox_id: str, steps: Steps) -> None:
    with steps.step("stopping the sandbox of", pod.full_name):
        await _gone(client.runtime.stop_pod_sandbox, sandbox_id)


async def _remove_sandbox(client: Client, pod: PodView, sandbox_id: str, steps: Steps) -> None:
    with steps.step("removing the sandbox of", pod.full_name):
        await _gone(client.runtime.remove_pod_sandbox, sandbox_id)


async def _gone(call: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **more: Any) -> None:
    """What is not there any more is stopped and removed; some endpoints call it an error."""
    try:
        await call(*arguments, **more)
    except NotFound:
        return


async def _all(calls: Iterable[Coroutine[Any, Any, None]]) -> list[PodyardError]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = []
    for result in results:
        if isinstance(result, PodyardError):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
    return failures
