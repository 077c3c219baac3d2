"""How a container's end is told: exit code, reason, message."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, same_lines
from podyard.validate.kit import Kit
from podyard.validate.requests import limits

EXITS = {
    "exit code 0 is Completed": ("exit 0", 0, "Completed"),
    "exit code 1 is an Error": ("exit 1", 1, "Error"),
    "exit code 2 is an Error": ("exit 2", 2, "Error"),
    "exit code 42 is an Error": ("exit 42", 42, "Error"),
    "exit code 126 is an Error": ("/etc/passwd", 126, "Error"),
    "exit code 127 is an Error": ("/no/such/program", 127, "Error"),
    "exit code 128 of the program itself is an Error": ("exit 128", 128, "Error"),
    "exit code 137 of the program itself is no OOMKilled": ("exit 137", 137, "Error"),
    "exit code 255 is an Error": ("exit 255", 255, "Error"),
    "killed by SIGKILL: 137": ("sh -c 'kill -KILL $$'; exit $?", 137, "Error"),
    "killed by SIGSEGV: 139": ("sh -c 'kill -SEGV $$'; exit $?", 139, "Error"),
    "killed by SIGTERM: 143": ("sh -c 'kill -TERM $$'; exit $?", 143, "Error"),
}


@table("exits", EXITS)
async def _(kit: Kit, script: str, code: int, reason: str) -> None:
    status = await kit.ended(await kit.start(["sh", "-c", script]))
    equal((status.exit_code, status.reason), (code, reason), "exit code and reason")


@case("exits", "a process that a signal ends has 128 and its number as exit code")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sleep", "1000"])
    await kit.runtime.stop_container(container_id, 0)
    equal((await kit.status(container_id)).exit_code, 137, "exit code")


@case("exits", "OOMKilled is told with 137")
async def _(kit: Kit) -> None:
    linux = limits(memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20)
    status = await kit.ended(await kit.start(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"], linux=linux))
    equal((status.exit_code, status.reason), (137, "OOMKilled"), "exit code and reason")


@case("exits", "OOMKilled is told when a child was killed and the program gave it up")
async def _(kit: Kit) -> None:
    linux = limits(memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20)
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1; exit $?"
    status = await kit.ended(await kit.start(["sh", "-c", script], linux=linux))
    equal((status.exit_code, status.reason), (137, "OOMKilled"), "exit code and reason")


@case("exits", "a program that cannot be started is told as StartError, where create did not refuse it")
async def _(kit: Kit) -> None:
    try:
        container_id = await kit.create(["/no/such/program"])
    except PodyardError:
        return
    await kit.refused(kit.runtime.start_container(container_id), PodyardError)
    status = await kit.status(container_id)
    equal((status.state, status.exit_code, status.reason), (api.CONTAINER_EXITED, 128, "StartError"), "the end")
    contains(status.message, "/no/such/program", "message")
    holds(status.finished_at > 0, "finished_at above 0", status.finished_at)


@case("exits", "children that outlive the program do not keep the container running")
async def _(kit: Kit) -> None:
    status = await kit.ended(await kit.start(["sh", "-c", "sleep 1000 & echo started"]))
    equal((status.exit_code, kit.output(status)), (0, "started\n"), "exit code and output")


@case("exits", "a burst of output before the end is in the log")
async def _(kit: Kit) -> None:
    status = await kit.exited(await kit.start(["seq", "20000"]))
    same_lines(kit.output(status), "".join(f"{number}\n" for number in range(1, 20001)), "the log")


@case("exits", "an end is told the same whoever asks, however often")
async def _(kit: Kit) -> None:
    status = await kit.ended(await kit.start(["sh", "-c", "exit 3"]))
    again = await kit.status(status.id)
    equal((again.exit_code, again.finished_at, again.reason), (3, status.finished_at, "Error"), "the second answer")
