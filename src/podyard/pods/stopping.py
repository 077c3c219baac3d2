"""Stop one container as its Pod wants it stopped: its preStop hook, then its signal, in the time that it is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from podyard.client import Client
from podyard.errors import PodyardError
from podyard.manifest.model import LifecycleHandler
from podyard.manifest.translate import labels
from podyard.pods.actions import Actions
from podyard.pods.steps import Steps

LEAST = 2
"""Seconds that a container gets for its signal, however long its hook took."""
_MAX_HOOK = 256 << 10


def pre_stop_of(annotations: Mapping[str, str]) -> LifecycleHandler | None:
    """The hook that a container's annotation holds. One that others wrote and that cannot be read counts as none."""
    text = annotations.get(labels.PRE_STOP, "")
    if not text or len(text) > _MAX_HOOK:
        return None
    try:
        handler = msgspec.json.decode(text, type=LifecycleHandler)
    except msgspec.MsgspecError:
        return None
    named = handler.http_get is not None and isinstance(handler.http_get.port, str)
    return None if named or len(handler.actions) != 1 else handler


async def stop_container(
    client: Client,
    container_id: str,
    name: str,
    grace: int,
    *,
    hook: LifecycleHandler | None,
    ips: Sequence[str],
    steps: Steps,
) -> None:
    """Stop a container. ``grace``: seconds for its hook and its own end together; with 0 there is no hook.

    A hook that fails is told and does not keep the container. Raises what StopContainer raises.
    """
    left = grace
    if hook is not None and grace > 0:
        began = time.monotonic()
        await _run_hook(client, container_id, name, grace, hook=hook, ips=ips, steps=steps)
        left = max(LEAST, grace - int(time.monotonic() - began))
    await client.runtime.stop_container(container_id, left)


async def _run_hook(
    client: Client,
    container_id: str,
    name: str,
    grace: int,
    *,
    hook: LifecycleHandler,
    ips: Sequence[str],
    steps: Steps,
) -> None:
    began = time.monotonic()
    (action,) = hook.actions
    try:
        failure = await Actions(client, ips).perform(action, container_id, None, grace)
    except PodyardError as error:
        failure = str(error)
    seconds = time.monotonic() - began
    steps.tell("running the preStop hook of", name, "failed" if failure else "done", detail=failure, seconds=seconds)
