"""Calls whose client goes away before the answer: asking again must lead to what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import equal
from podyard.validate.kit import WAIT_LIMIT, Kit

GONE = 0.01
"""Seconds after which the client gives up."""


async def _given_up(kit: Kit, call: str, request: Any) -> None:
    """Make a call and do not wait for its answer. A runtime may have given it, or say that it gave up."""
    try:
        await kit.runtime.call(call, request, timeout=GONE)
    except PodyardError as error:
        if kit.strict:
            equal(error.status, "DEADLINE_EXCEEDED", "what the client sees")


async def _again(kit: Kit, call: str, request: Any) -> Any:
    """Ask again; while the first is under way a refusal is fair where no strict run asks for more."""
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            try:
                return await kit.runtime.call(call, request)
            except PodyardError:
                if kit.strict:
                    raise
                await asyncio.sleep(0.1)


@case("cancelled calls", "a container whose client goes away can be asked for again")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    config = await kit.container_config(["true"])
    request = api.CreateContainerRequest(
        pod_sandbox_id=sandbox_id, config=config, sandbox_config=kit.session.configs[sandbox_id]
    )
    await _given_up(kit, "CreateContainer", request)
    wanted = api.ContainerFilter(pod_sandbox_id=sandbox_id)
    if kit.strict:
        made = (await _again(kit, "CreateContainer", request)).container_id
        equal([entry.id for entry in await kit.runtime.list_containers(wanted)], [made], "containers")
        return
    async with asyncio.timeout(WAIT_LIMIT):
        while not await kit.runtime.list_containers(wanted):
            try:
                await kit.runtime.call("CreateContainer", request)
            except PodyardError:
                await asyncio.sleep(0.1)
    equal(len(await kit.runtime.list_containers(wanted)), 1, "containers")


@case("cancelled calls", "a container whose start's client goes away runs, or can be started")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["sleep", "1000"])
    request = api.StartContainerRequest(container_id=container_id)
    await _given_up(kit, "StartContainer", request)
    async with asyncio.timeout(WAIT_LIMIT):
        while (state := (await kit.status(container_id)).state) == api.CONTAINER_CREATED:
            try:
                await kit.runtime.call("StartContainer", request)
            except PodyardError:
                await asyncio.sleep(0.1)
    equal(state, api.CONTAINER_RUNNING, "state")


def _sandbox(message: Any) -> Callable[[str, str], Any]:
    return lambda sandbox_id, _: message(pod_sandbox_id=sandbox_id)


def _container(message: Any, **fields: Any) -> Callable[[str, str], Any]:
    return lambda _, container_id: message(container_id=container_id, **fields)


ENDS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "a stop of a container": ("StopContainer", _container(api.StopContainerRequest, timeout=2)),
    "a removal of a container": ("RemoveContainer", _container(api.RemoveContainerRequest)),
    "a stop of a sandbox": ("StopPodSandbox", _sandbox(api.StopPodSandboxRequest)),
    "a removal of a sandbox": ("RemovePodSandbox", _sandbox(api.RemovePodSandboxRequest)),
}


@table("cancelled calls", {f"{name} whose client goes away can be asked for again": row for name, row in ENDS.items()})
async def _(kit: Kit, call: str, request: Callable[[str, str], Any]) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    wanted = request(sandbox_id, container_id)
    await _given_up(kit, call, wanted)
    await _again(kit, call, wanted)
    running = api.ContainerStateValue(state=api.CONTAINER_RUNNING)
    found = await kit.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=sandbox_id, state=running))
    equal(len(found), 0, "running containers")
    if call == "RemoveContainer":
        equal(await kit.runtime.list_containers(api.ContainerFilter(id=container_id)), [], "the container")
    ready = [entry.state for entry in await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id))]
    expected = {"StopPodSandbox": [api.SANDBOX_NOTREADY], "RemovePodSandbox": []}.get(call, [api.SANDBOX_READY])
    equal(ready, expected, "the sandbox")
