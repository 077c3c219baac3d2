"""Requests that come twice: a kubelet repeats what it has no answer for."""

from __future__ import annotations

import asyncio
from typing import Any

from podyard.cri import api
from podyard.errors import AlreadyExists, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, equal
from podyard.validate.kit import NOBODY, Kit


async def _same_or_refused(kit: Kit, call: Any, first: str) -> None:
    """The first one's id; outside strict runs a refusal will do, since it makes no second one, either."""
    try:
        second = await call
    except PodyardError as error:
        if kit.strict:
            raise Unmet(f"the id of the first, {first[:12]}", f"{error.status}: {error}") from error
    else:
        equal(second, first, "id")


async def _sandboxes(kit: Kit, config: api.PodSandboxConfig) -> int:
    listed = await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(label_selector=kit.labels))
    return sum(entry.metadata.uid == config.metadata.uid for entry in listed)


@case("repeats", "a sandbox asked for again is not made twice")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    first = await kit.sandbox(config)
    await _same_or_refused(kit, kit.sandbox(config), first)
    equal(await _sandboxes(kit, config), 1, "sandboxes")


@case("repeats", "a sandbox asked for twice at once is not made twice")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    outcomes = await asyncio.gather(*(kit.sandbox(config) for _ in range(5)), return_exceptions=True)
    ids = {outcome for outcome in outcomes if isinstance(outcome, str)}
    equal(len(ids), 1, "different ids")
    equal(await _sandboxes(kit, config), 1, "sandboxes")
    if kit.strict:
        equal([outcome for outcome in outcomes if not isinstance(outcome, str)], [], "failures")


@case("repeats", "a sandbox whose client goes away can be asked for again")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    request = api.RunPodSandboxRequest(config=config, runtime_handler=kit.session.target.handler)
    try:
        await kit.runtime.call("RunPodSandbox", request, timeout=0.02)
    except PodyardError as error:
        equal(error.status, "DEADLINE_EXCEEDED", "what the client sees")
    async with asyncio.timeout(20):
        while True:
            try:
                await kit.sandbox(config)
            except PodyardError:
                # Refusals while the first is under way are fair where no strict run asks for more.
                if kit.strict:
                    raise
                if await _sandboxes(kit, config):
                    break
                await asyncio.sleep(0.1)
            else:
                break
    equal(await _sandboxes(kit, config), 1, "sandboxes")


@case("repeats", "a container asked for again is not made twice")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    first = await kit.create_from(config)
    await _same_or_refused(kit, kit.create_from(config), first)
    equal(len(await kit.runtime.list_containers(api.ContainerFilter(label_selector=kit.labels))), 1, "containers")


@case("repeats", "a container asked for twice at once is not made twice")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    outcomes = await asyncio.gather(*(kit.create_from(config) for _ in range(5)), return_exceptions=True)
    equal(len({outcome for outcome in outcomes if isinstance(outcome, str)}), 1, "different ids")
    equal(len(await kit.runtime.list_containers(api.ContainerFilter(label_selector=kit.labels))), 1, "containers")


@case("repeats", "another container under the same name is refused")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    await kit.create_from(config)
    config.args.append("more")
    await kit.refused(kit.create_from(config), AlreadyExists)


@case("repeats", "a name is free again when its container is removed")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    first = await kit.create_from(config)
    await kit.runtime.remove_container(first)
    second = await kit.create_from(config)
    equal(
        [entry.id for entry in await kit.runtime.list_containers(api.ContainerFilter(label_selector=kit.labels))],
        [second],
        "containers",
    )


@table(
    "repeats",
    {
        "a sandbox is stopped twice": ("stop_pod_sandbox",),
        "a sandbox is removed twice": ("remove_pod_sandbox",),
    },
)
async def _(kit: Kit, call: str) -> None:
    sandbox_id = await kit.sandbox()
    for _number in range(2):
        await getattr(kit.runtime, call)(sandbox_id)


@case("repeats", "a container is removed twice")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["true"])
    for _number in range(2):
        await kit.runtime.remove_container(container_id)


@table(
    "repeats",
    {
        "a sandbox is stopped twice at once": ("stop_pod_sandbox",),
        "a sandbox is removed twice at once": ("remove_pod_sandbox",),
    },
)
async def _(kit: Kit, call: str) -> None:
    sandbox_id = await kit.sandbox()
    await kit.idle(sandbox_id)
    await asyncio.gather(*(getattr(kit.runtime, call)(sandbox_id) for _ in range(3)))


@table(
    "repeats",
    {
        f"{name} of what is not there succeeds": (call,)
        for name, call in {
            "a stop of a sandbox": "stop_pod_sandbox",
            "a removal of a sandbox": "remove_pod_sandbox",
            "a removal of a container": "remove_container",
        }.items()
    },
)
async def _(kit: Kit, call: str) -> None:
    await getattr(kit.runtime, call)(NOBODY)
