"""Container logs: their format, their place, their rotation."""

from __future__ import annotations

import asyncio
import datetime
import re
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, equal, holds, matches, same_lines
from podyard.validate.kit import Kit, until
from podyard.validate.logs import joined, read_log

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"


async def _ran(kit: Kit, script: str, **fields: Any) -> api.ContainerStatus:
    return await kit.ended(await kit.start(["sh", "-c", script], **fields))


@case("logs", "a line is time, stream, tag and content")
async def _(kit: Kit) -> None:
    status = await _ran(kit, "echo one; echo 'two  words' >&2")
    came = sorted((line.stream, line.tag, line.content) for line in kit.lines(status))
    equal(came, [("stderr", "F", "two  words"), ("stdout", "F", "one")], "stream, tag and content")


@case("logs", "times are RFC 3339, in order, and of now")
async def _(kit: Kit) -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)
    lines = kit.lines(await _ran(kit, "echo one; sleep 0.1; echo two"))
    for line in lines:
        matches(line.time, TIME, "time")
    # Python takes six digits of a second, the log has up to nine.
    times = [datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", line.time)) for line in lines]
    holds(before <= times[0] < times[1] <= datetime.datetime.now(datetime.UTC), "times in order", times)


@table(
    "logs",
    {
        "an empty line is a line": (r"printf 'a\n\nb\n'", [("F", "a"), ("F", ""), ("F", "b")]),
        "blanks are kept": (r"printf '  a  \n'", [("F", "  a  ")]),
        "a carriage return is kept": (r"printf 'a\r\n'", [("F", "a\r")]),
        "letters beyond ASCII are kept": ("echo ü✓", [("F", "ü✓")]),
        "output that ends without a newline is a part": (r"printf 'a\nb'", [("F", "a"), ("P", "b")]),
        "no output, no line": ("true", []),
    },
)
async def _(kit: Kit, script: str, expected: list[tuple[str, str]]) -> None:
    equal([(line.tag, line.content) for line in kit.lines(await _ran(kit, script))], expected, "tags and contents")


@case("logs", "a long line is split into parts, and nothing of it is lost")
async def _(kit: Kit) -> None:
    lines = kit.lines(await _ran(kit, r"head -c 100000 /dev/zero | tr '\0' x; echo end"))
    same_lines(joined(lines), "x" * 100000 + "end\n", "the parts together")
    holds(len(lines) > 1, "more than one part", len(lines))
    equal({line.tag for line in lines[:-1]}, {"P"}, "tags before the last")
    equal(lines[-1].tag, "F", "the last tag")


@case("logs", "a line in two writes is one line, or two parts of it")
async def _(kit: Kit) -> None:
    lines = kit.lines(await _ran(kit, "printf one; sleep 0.3; echo two"))
    equal(joined(lines), "onetwo\n", "the line")


@case("logs", "ten thousand lines arrive in order")
async def _(kit: Kit) -> None:
    lines = kit.lines(await _ran(kit, "seq 10000"))
    same_lines(joined(lines), "".join(f"{number}\n" for number in range(1, 10001)), "the log")


@case("logs", "a terminal writes to stdout alone")
async def _(kit: Kit) -> None:
    lines = kit.lines(await _ran(kit, "echo out; echo err >&2", tty=True))
    equal({line.stream for line in lines}, {"stdout"}, "streams")
    equal([line.content.rstrip("\r") for line in lines], ["out", "err"], "contents")


@case("logs", "the log is there when the container has ended")
async def _(kit: Kit) -> None:
    for number in range(5):
        status = await kit.exited(await kit.start(["echo", str(number)]))
        equal(kit.output(status), f"{number}\n", "the log right after the end")


@case("logs", "the file can be read by those who collect logs")
async def _(kit: Kit) -> None:
    path = Path((await _ran(kit, "echo x")).log_path)
    equal(oct(path.stat().st_mode & 0o740), oct(0o640), "permissions of the file (0640)")
    equal(oct(path.parent.stat().st_mode & 0o755), oct(0o755), "permissions of its directory (0755)")


@case("logs", "a container without log_path has none")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.ended(await kit.start(["echo", "x"], sandbox_id, log_path=""))
    folder = Path(kit.session.configs[sandbox_id].log_directory)
    equal([path.name for path in folder.rglob("*") if path.is_file()], [], "files in the log directory")


@case("logs", "a sandbox without log_directory has none")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(log_directory="")
    status = await kit.ended(await kit.start(["echo", "x"], sandbox_id))
    equal(status.exit_code, 0, "exit code")
    holds(not Path(status.log_path or "/none").is_file(), "no file", status.log_path)


@table("logs", {f"a log_path {path} is refused": (path,) for path in ("../outside.log", "a/../../outside.log")})
async def _(kit: Kit, path: str) -> None:
    try:
        container_id = await kit.create(["true"], log_path=path)
    except InvalidArgument:
        return
    folder = Path(kit.session.configs[await kit.shared()].log_directory)
    where = Path((await kit.status(container_id)).log_path).resolve()
    holds(where.is_relative_to(folder), f"an error, or a log below {folder}", where)


@case("logs", "a new container of the same name writes a log of its own")
async def _(kit: Kit) -> None:
    first, second = await _ran(kit, "echo 1", log_path="same/0.log"), await _ran(kit, "echo 2", log_path="same/1.log")
    equal((kit.output(first), kit.output(second)), ("1\n", "2\n"), "the logs")


@case("log rotation", "a renamed log is followed by a new file of the old name")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sh", "-c", "while :; do echo tick; sleep 0.05; done"])
    path = Path((await kit.says(container_id, "tick")).log_path)
    old = path.with_name("rotated")
    path.rename(old)
    await kit.runtime.reopen_container_log(container_id)
    holds(path.exists(), "a new file when the call returns", "none")
    size = old.stat().st_size
    await kit.says(container_id, "tick")
    equal(old.stat().st_size, size, "size of the old file after the new one is in use")


@case("log rotation", "nothing is lost over several rotations")
async def _(kit: Kit) -> None:
    script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; usleep 2000; done; echo the end; sleep 1000"
    container_id = await kit.start(["sh", "-c", script])
    path = Path((await kit.says(container_id, "line")).log_path)
    files: list[Path] = []

    def written() -> str:
        return "".join(joined(read_log(file)) for file in [*files, path])

    for number in range(4):
        files.append(path.with_name(f"{path.name}.{number}"))
        path.rename(files[-1])
        await kit.runtime.reopen_container_log(container_id)
        await asyncio.sleep(0.1)
    # Where rotating takes long, the end is in one of the files before the last.
    await until(lambda: written().endswith("the end\n"), "the end in one of the logs", lambda: written()[-200:])
    same_lines(written(), "".join(f"line {number}\n" for number in range(1, 401)) + "the end\n", "the logs together")


@case("log rotation", "a log that was deleted comes back")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sh", "-c", "while :; do echo tick; sleep 0.05; done"])
    path = Path((await kit.says(container_id, "tick")).log_path)
    path.unlink()
    await kit.runtime.reopen_container_log(container_id)
    await kit.says(container_id, "tick")


@table("log rotation", {f"not of a container that is {state}": (state,) for state in ("created", "exited")})
async def _(kit: Kit, state: str) -> None:
    container_id = await kit.create(["true"])
    if state == "exited":
        await kit.runtime.start_container(container_id)
        await kit.ended(container_id)
    await kit.refused(kit.runtime.reopen_container_log(container_id), FailedPrecondition)


@case("log rotation", "a running container that writes nothing can be rotated")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    path = Path((await kit.status(container_id)).log_path)
    for _ in range(3):
        await kit.runtime.reopen_container_log(container_id)
    if not path.exists():
        raise Unmet("the log's file", "none")
