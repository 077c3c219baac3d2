"""StopContainer: which signal is sent, how long it waits, and how often it may be called."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import equal, holds, skip
from podyard.validate.kit import NOBODY, Kit

DEAF = "trap '' TERM; echo up; while :; do sleep 0.1; done"
"""Ignores SIGTERM."""

SIGNALS = {
    "SIGHUP": (api.SIGNAL_SIGHUP, 1),
    "SIGINT": (api.SIGNAL_SIGINT, 2),
    "SIGQUIT": (api.SIGNAL_SIGQUIT, 3),
    "SIGUSR1": (api.SIGNAL_SIGUSR1, 10),
    "SIGUSR2": (api.SIGNAL_SIGUSR2, 12),
    "SIGALRM": (api.SIGNAL_SIGALRM, 14),
    "SIGTERM": (api.SIGNAL_SIGTERM, 15),
    "SIGWINCH": (api.SIGNAL_SIGWINCH, 28),
    "SIGPWR": (api.SIGNAL_SIGPWR, 30),
    "SIGRTMIN+3": (api.SIGNAL_SIGRTMINPLUS3, 37),
    "SIGRTMAX-1": (api.SIGNAL_SIGRTMAXMINUS1, 63),
}


def _exits_on(number: int, code: int = 5) -> str:
    return f"trap 'exit {code}' {number}; echo up; while :; do sleep 0.1; done"


async def _up(kit: Kit, script: str, **fields: Any) -> str:
    """A running container whose traps are set."""
    container_id = await kit.start(["sh", "-c", script], **fields)
    await kit.says(container_id, "up")
    return container_id


@table("stop signals", {f"{name} of the request is sent": row for name, row in SIGNALS.items()})
async def _(kit: Kit, signal: api.Signal.ValueType, number: int) -> None:
    container_id = await _up(kit, _exits_on(number), stop_signal=signal)
    if (await kit.status(container_id)).stop_signal == api.SIGNAL_RUNTIME_DEFAULT:
        skip("the endpoint does not know stop_signal: no status tells one")
    await kit.runtime.stop_container(container_id, 10)
    equal((await kit.status(container_id)).exit_code, 5, "exit code (5: that of the trap)")


@case("stop signals", "SIGTERM is sent where neither the request nor the image names one")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, _exits_on(15))
    await kit.runtime.stop_container(container_id, 10)
    equal((await kit.status(container_id)).exit_code, 5, "exit code (5: that of the trap)")


@case("stop signals", "the image's signal is sent where the request names none")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, _exits_on(10), image=await kit.image("configured"))
    await kit.runtime.stop_container(container_id, 10)
    equal((await kit.status(container_id)).exit_code, 5, "exit code (5: that of the trap)")


@case("stop signals", "the request's signal wins over the image's")
async def _(kit: Kit) -> None:
    script = "trap 'exit 5' HUP; trap 'exit 6' USR1; echo up; while :; do sleep 0.1; done"
    container_id = await _up(kit, script, image=await kit.image("configured"), stop_signal=api.SIGNAL_SIGHUP)
    await kit.runtime.stop_container(container_id, 10)
    equal((await kit.status(container_id)).exit_code, 5, "exit code (5: that of the request's signal)")


@table(
    "stop signals",
    {
        "the status tells the request's": ("busybox", api.SIGNAL_SIGUSR2, api.SIGNAL_SIGUSR2),
        "the status tells the image's": ("configured", api.SIGNAL_RUNTIME_DEFAULT, api.SIGNAL_SIGUSR1),
        "the status tells SIGTERM otherwise": ("busybox", api.SIGNAL_RUNTIME_DEFAULT, api.SIGNAL_SIGTERM),
    },
)
async def _(kit: Kit, image: str, asked: api.Signal.ValueType, told: api.Signal.ValueType) -> None:
    container_id = await kit.create(["true"], image=await kit.image(image), stop_signal=asked)
    came = (await kit.status(container_id)).stop_signal
    equal(api.Signal.Name(came), api.Signal.Name(told), "stop_signal")


@case("stop", "a program that listens has the time that it needs")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, "trap 'sleep 0.5; echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done")
    await kit.runtime.stop_container(container_id, 20)
    status = await kit.status(container_id)
    equal((status.exit_code, kit.output(status)), (7, "up\nbye\n"), "exit code and output")


@case("stop", "it returns as soon as the program has ended")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, _exits_on(15))
    began = time.monotonic()
    await kit.runtime.stop_container(container_id, 50)
    holds(time.monotonic() - began < 25, "an answer long before the time is up", f"{time.monotonic() - began:.1f} s")


@case("stop", "a program that does not listen is killed when its time is up")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, DEAF)
    began = time.monotonic()
    await kit.runtime.stop_container(container_id, 1)
    took = time.monotonic() - began
    status = await kit.status(container_id)
    equal((status.state, status.exit_code), (api.CONTAINER_EXITED, 137), "state and exit code")
    holds(took >= 1, "at least the second that it was given", f"{took:.2f} s")


@case("stop", "without time it is killed at once")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, _exits_on(15))
    await kit.runtime.stop_container(container_id, 0)
    equal((await kit.status(container_id)).exit_code, 137, "exit code")


@case("stop", "the container has exited when the call returns")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sleep", "1000"])
    await kit.runtime.stop_container(container_id, 0)
    status = await kit.status(container_id)
    equal(status.state, api.CONTAINER_EXITED, "state")
    holds(status.finished_at > 0, "finished_at above 0", status.finished_at)


@case("stop", "children are ended with their parent")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await _up(kit, "trap '' TERM; (trap '' TERM; sleep 5151) & echo up; wait", sandbox=sandbox_id)
    await kit.runtime.stop_container(container_id, 0)
    host = api.LinuxContainerConfig(
        security_context=api.LinuxContainerSecurityContext(namespace_options=api.NamespaceOption(pid=api.NODE))
    )
    sandbox = await kit.sandbox(
        linux=api.LinuxPodSandboxConfig(
            security_context=api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(pid=api.NODE))
        )
    )
    equal(await kit.shell("ps -o args | grep '^sleep 5151' || true", sandbox, linux=host), "", "processes left")


@table(
    "stop",
    {
        "stopping an exited container succeeds": ("exited",),
        "stopping twice succeeds": ("stopped",),
        "stopping a created container succeeds": ("created",),
    },
)
async def _(kit: Kit, state: str) -> None:
    container_id = await kit.create(["sleep", "1000"] if state == "stopped" else ["true"])
    if state != "created":
        await kit.runtime.start_container(container_id)
        await (kit.ended(container_id) if state == "exited" else kit.runtime.stop_container(container_id, 0))
    await kit.runtime.stop_container(container_id, 1)


@case("stop", "stopping what is not there succeeds")
async def _(kit: Kit) -> None:
    await kit.runtime.stop_container(NOBODY, 1)


@case("stop", "a second stop with less time shortens the first")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, DEAF)
    slow = asyncio.create_task(kit.runtime.stop_container(container_id, 100))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await kit.runtime.stop_container(container_id, 1)
    await slow
    holds(time.monotonic() - began < 20, "both answered soon", f"{time.monotonic() - began:.1f} s")


@case("stop", "two stops at once are both answered")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, _exits_on(15))
    await asyncio.gather(*(kit.runtime.stop_container(container_id, 10) for _ in range(2)))
    equal((await kit.status(container_id)).exit_code, 5, "exit code")


@case("stop", "a stop whose client goes away leaves a container that can be stopped")
async def _(kit: Kit) -> None:
    container_id = await _up(kit, DEAF)
    try:
        await kit.runtime.call(
            "StopContainer", api.StopContainerRequest(container_id=container_id, timeout=30), timeout=0.5
        )
    except PodyardError as error:
        equal(error.status, "DEADLINE_EXCEEDED", "what the client sees")
    await kit.runtime.stop_container(container_id, 0)
    equal((await kit.status(container_id)).state, api.CONTAINER_EXITED, "state")


@case("stop", "an exec in flight ends with its container")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    running = asyncio.create_task(kit.runtime.exec_sync(container_id, ["sleep", "100"], 50))
    await asyncio.sleep(0.5)
    await kit.runtime.stop_container(container_id, 0)
    try:
        result = await running
    except PodyardError as error:
        holds(error.status != "DEADLINE_EXCEEDED", "an end with the container", f"{error.status}: {error}")
    else:
        holds(result.exit_code != 0, "another exit code than 0", result.exit_code)
