"""ExecSync: a command in a running container, to its end."""

from __future__ import annotations

import asyncio
import contextlib

from podyard.cri import api
from podyard.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import equal, holds
from podyard.validate.kit import Kit
from podyard.validate.requests import security, value

LIMIT = 16 << 20
"""Bytes that runtimes keep of each stream."""

RESULTS = {
    "output comes back": (["echo", "out"], b"out\n", b"", 0),
    "errors come back apart": (["sh", "-c", "echo out; echo err >&2"], b"out\n", b"err\n", 0),
    "the exit code comes back": (["sh", "-c", "exit 7"], b"", b"", 7),
    "exit code 255 comes back": (["sh", "-c", "exit 255"], b"", b"", 255),
    "a command that a signal kills has 128 and its number": (["sh", "-c", "kill -KILL $$"], b"", b"", 137),
    "no shell reads the command": (["echo", "$HOME", "*"], b"$HOME *\n", b"", 0),
    "bytes come back as they are": (["printf", r"\000\377\r\n"], b"\0\xff\r\n", b"", 0),
    "output without a newline comes back": (["printf", "x"], b"x", b"", 0),
    "standard input is at its end": (["cat"], b"", b"", 0),
    "no terminal": (["sh", "-c", "test -t 1 || echo none"], b"none\n", b"", 0),
}


@table("exec sync", RESULTS)
async def _(kit: Kit, command: list[str], stdout: bytes, stderr: bytes, code: int) -> None:
    came = await kit.runtime.exec_sync(await kit.session.idle(), command, 20)
    equal((came.stdout, came.stderr, came.exit_code), (stdout, stderr, code), "stdout, stderr and exit code")


@case("exec sync", "without a time limit")
async def _(kit: Kit) -> None:
    equal((await kit.runtime.exec_sync(await kit.session.idle(), ["echo", "x"])).stdout, b"x\n", "stdout")


@case("exec sync", "a megabyte of output comes back whole")
async def _(kit: Kit) -> None:
    came = await kit.runtime.exec_sync(await kit.session.idle(), ["head", "-c", "1000000", "/dev/zero"], 30)
    equal(came.stdout == bytes(1000000), True, f"a million zeros ({len(came.stdout)} bytes came)")


@case("exec sync", "what is more than 16 MiB is dropped, and the command still ends")
async def _(kit: Kit) -> None:
    command = ["sh", "-c", f"head -c {LIMIT + 1000000} /dev/zero; exit 3"]
    try:
        came = await kit.runtime.exec_sync(await kit.session.idle(), command, 50)
    except PodyardError as error:
        # 16 MiB and the rest of the message are more than a client takes.
        equal(error.status, "RESOURCE_EXHAUSTED", "how a larger answer is told")
    else:
        equal(came.exit_code, 3, "exit code")
        holds(len(came.stdout) <= LIMIT, f"at most {LIMIT} bytes", len(came.stdout))


@case("exec sync", "it runs as the container's user, in its directory, with its environment")
async def _(kit: Kit) -> None:
    container_id = await kit.idle(
        envs=[api.KeyValue(key="K", value=b"v")],
        working_dir="/tmp",
        linux=security(run_as_user=value(65534), run_as_group=value(77), supplemental_groups=[9]),
    )
    output = await kit.exec(container_id, "sh", "-c", "echo $(id -u) $(id -g) $K $(pwd); id -G")
    equal(output, "65534 77 v /tmp\n77 9\n", "user, group, variable, directory, groups")


@case("exec sync", "it has the container's capabilities")
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=security(capabilities=api.Capability(drop_capabilities=["ALL"])))
    output = await kit.exec(container_id, "grep", "CapEff", "/proc/self/status")
    equal(int(output.split()[1], 16), 0, "effective capabilities")


@case("exec sync", "it is in the container's cgroup")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    output = await kit.exec(container_id, "sh", "-c", "cat /proc/self/cgroup; echo --; cat /proc/1/cgroup")
    own, _, first = output.partition("--\n")
    equal(own, first, "cgroups")


@case("exec sync", "twenty at once")
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    outputs = await asyncio.gather(*(kit.exec(container_id, "echo", str(number)) for number in range(20)))
    equal(outputs, [f"{number}\n" for number in range(20)], "outputs")


@case("exec sync", "a command that takes longer than its limit is told by DEADLINE_EXCEEDED", limit=20)
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    try:
        result = await kit.runtime.exec_sync(container_id, ["sleep", "100"], 1)
    except DeadlineExceeded:
        return
    # CRI-O's way: an exit code that no command has.
    equal(result.exit_code, -1, "exit code, where no error tells")


@case("exec sync", "a command that takes longer than its limit is killed with its children", limit=20)
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    with contextlib.suppress(DeadlineExceeded):
        await kit.runtime.exec_sync(container_id, ["sh", "-c", "sleep 4711; true"], 1)
    for _ in range(100):
        if "sleep 4711" not in await kit.exec(container_id, "ps", "-o", "args"):
            return
        await asyncio.sleep(0.1)
    holds(False, "that its child is killed, too", "sleep 4711 still runs")


@case("exec sync", "children that keep the output open are not waited for", limit=20)
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    equal(await kit.exec(container_id, "sh", "-c", "sleep 500 & echo started"), "started\n", "output")


@case("exec sync", "a container goes on after a command has failed")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    await kit.runtime.exec_sync(container_id, ["sh", "-c", "exit 1"], 20)
    equal((await kit.status(container_id)).state, api.CONTAINER_RUNNING, "state")


@case("exec sync", "a program that does not exist is named")
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    try:
        result = await kit.runtime.exec_sync(container_id, ["no-such-command"], 20)
    except PodyardError as error:
        holds("no-such-command" in str(error), "an error that names the program", str(error))
    else:
        holds(result.exit_code in {126, 127}, "exit code 127", result.exit_code)


@case("exec sync", "an empty command is refused")
async def _(kit: Kit) -> None:
    await kit.refused(kit.runtime.exec_sync(await kit.session.idle(), [], 5), InvalidArgument)


@table("exec sync", {f"not in a container that is {state}": (state,) for state in ("created", "exited")})
async def _(kit: Kit, state: str) -> None:
    container_id = await kit.create(["true"])
    if state == "exited":
        await kit.runtime.start_container(container_id)
        await kit.ended(container_id)
    await kit.refused(kit.runtime.exec_sync(container_id, ["true"], 20), FailedPrecondition)
