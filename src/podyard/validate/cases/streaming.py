"""Exec, Attach and PortForward with live streams."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.parse
from typing import Literal

from podyard.client.streams import PortForward, Session
from podyard.cri import api
from podyard.errors import PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, one_of
from podyard.validate.kit import Kit

Transport = Literal["spdy", "websocket"]

EXEC, ATTACH, FORWARD = "the call Exec", "the call Attach", "the call PortForward"

TRANSPORTS: tuple[Transport, ...] = ("spdy", "websocket")


async def _all(session: Session) -> tuple[bytes, bytes]:
    """What it wrote until it ended."""
    written = {"stdout": b"", "stderr": b""}
    async for output in session:
        written[output.stream] += output.data
    return written["stdout"], written["stderr"]


def _url(text: str, word: str) -> None:
    parts = urllib.parse.urlsplit(text)
    one_of(parts.scheme, ("http", "https"), "scheme of the URL")
    contains(parts.path, word, "path of the URL")
    holds(parts.port, "a port in the URL", text)


@case("streaming", "Exec answers with a URL", needs=EXEC)
async def _(kit: Kit) -> None:
    request = api.ExecRequest(container_id=await kit.session.idle(), cmd=["true"], stdout=True)
    _url((await kit.runtime.call("Exec", request)).url, "exec")


@case("streaming", "Attach answers with a URL", needs=ATTACH)
async def _(kit: Kit) -> None:
    request = api.AttachRequest(container_id=await kit.session.idle(), stdout=True)
    _url((await kit.runtime.call("Attach", request)).url, "attach")


@case("streaming", "PortForward answers with a URL", needs=FORWARD)
async def _(kit: Kit) -> None:
    request = api.PortForwardRequest(pod_sandbox_id=await kit.shared())
    _url((await kit.runtime.call("PortForward", request)).url, "portforward")


@case("streaming", "each answer has a URL of its own", needs=EXEC)
async def _(kit: Kit) -> None:
    request = api.ExecRequest(container_id=await kit.session.idle(), cmd=["true"], stdout=True)
    urls = [(await kit.runtime.call("Exec", request)).url for _ in range(5)]
    equal(len(set(urls)), 5, "different URLs")


RESULTS: dict[str, tuple[list[str], tuple[bytes, bytes, int]]] = {
    "output": (["echo", "out"], (b"out\n", b"", 0)),
    "output and errors apart": (["sh", "-c", "echo out; echo err >&2"], (b"out\n", b"err\n", 0)),
    "an exit code": (["sh", "-c", "exit 7"], (b"", b"", 7)),
}


@table(
    "exec",
    {f"{name}, over {transport}": (transport, *row) for transport in TRANSPORTS for name, row in RESULTS.items()},
    needs=EXEC,
)
async def _(kit: Kit, transport: Transport, command: list[str], expected: tuple[bytes, bytes, int]) -> None:
    container_id = await kit.session.idle()
    async with kit.runtime.exec(container_id, command, transport=transport) as session:
        equal((*await _all(session), await session.wait()), expected, "stdout, stderr and exit code")


@case("exec", "input to its end, over spdy", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    async with kit.runtime.exec(container_id, ["cat"], stdin=True, transport="spdy") as session:
        await session.stdin.write(b"one\n")
        await session.stdin.write(b"two\n")
        await session.stdin.close()
        equal((await _all(session))[0], b"one\ntwo\n", "stdout")
        equal(await session.wait(), 0, "exit code")


@table("exec", {f"a question and its answer, over {transport}": (transport,) for transport in TRANSPORTS}, needs=EXEC)
async def _(kit: Kit, transport: Transport) -> None:
    container_id = await kit.session.idle()
    command = ["sh", "-c", 'read name; echo "hello $name"']
    async with kit.runtime.exec(container_id, command, stdin=True, transport=transport) as session:
        await session.stdin.write(b"world\n")
        equal((await _all(session))[0], b"hello world\n", "stdout")


@case("exec", "five megabytes there and back", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    data = bytes(range(256)) * 20480
    async with kit.runtime.exec(container_id, ["cat"], stdin=True, transport="spdy") as session:

        async def send() -> None:
            for start in range(0, len(data), 65536):
                await session.stdin.write(data[start : start + 65536])
            await session.stdin.close()

        sending = asyncio.create_task(send())
        out, _err = await _all(session)
        await sending
    equal(hashlib.sha256(out).hexdigest(), hashlib.sha256(data).hexdigest(), f"content of {len(data)} bytes")


@case("exec", "a terminal: one stream, and a name in /dev/pts", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    command = ["sh", "-c", "tty; echo err >&2; echo $TERM"]
    async with kit.runtime.exec(container_id, command, tty=True) as session:
        out = (await _all(session))[0].replace(b"\r", b"").decode()
    contains(out, "/dev/pts/", "output")
    contains(out, "err\nxterm\n", "output")


@case("exec", "a terminal's size", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    command = ["sh", "-c", "i=0; while [ $i -lt 100 ]; do i=$((i+1)); stty size; sleep 0.05; done"]
    async with kit.runtime.exec(container_id, command, tty=True, stdin=True) as session:
        await session.resize(101, 33)
        out = b""
        async with asyncio.timeout(20):
            async for output in session:
                out += output.data
                if b"33 101" in out:
                    break
    contains(out.decode(), "33 101", "rows and columns")


@case("exec", "a program that does not exist is told", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    try:
        async with kit.runtime.exec(container_id, ["no-such-command"]) as session:
            await _all(session)
            code = await session.wait()
    except PodyardError as error:
        contains(str(error), "no-such-command", "the error")
    else:
        holds(code != 0, "another exit code than 0", code)


@case("exec", "ten at once", needs=EXEC)
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()

    async def one(number: int) -> bytes:
        async with kit.runtime.exec(container_id, ["echo", str(number)]) as session:
            return (await _all(session))[0]

    outputs = await asyncio.gather(*(one(number) for number in range(10)))
    equal(outputs, [f"{number}\n".encode() for number in range(10)], "outputs")


@case("attach", "what the process writes from now on", needs=ATTACH)
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sh", "-c", "while :; do echo tick; sleep 0.1; done"])
    out = b""
    async with kit.runtime.attach(container_id) as session, asyncio.timeout(20):
        async for output in session:
            out += output.data
            if out.count(b"tick\n") >= 3:
                break
    holds(out.count(b"tick\n") >= 3, "three lines that it writes", out)
    equal((await kit.status(container_id)).state, api.CONTAINER_RUNNING, "state after leaving")


@case("attach", "input reaches the process, and its answer comes back", needs=ATTACH)
async def _(kit: Kit) -> None:
    command = ["sh", "-c", 'read name; echo "hello $name"; sleep 0.2; exit 3']
    container_id = await kit.start(command, stdin=True)
    out = b""
    async with kit.runtime.attach(container_id, stdin=True) as session, asyncio.timeout(20):
        await session.stdin.write(b"world\n")
        async for output in session:
            out += output.data
            if b"hello world\n" in out:
                break
    contains(out.decode(errors="replace"), "hello world\n", "what came back")
    status = await kit.ended(container_id)
    equal(status.exit_code, 3, "exit code")
    equal(kit.output(status), "hello world\n", "the log")


@case("attach", "with stdin_once the process' input ends when the first has gone", needs=ATTACH)
async def _(kit: Kit) -> None:
    container_id = await kit.start(["cat"], stdin=True, stdin_once=True)
    out = b""
    async with kit.runtime.attach(container_id, stdin=True) as session, asyncio.timeout(20):
        await session.stdin.write(b"line\n")
        async for output in session:
            out += output.data
            if b"line\n" in out:
                break
    contains(out.decode(errors="replace"), "line\n", "what came back")
    equal((await kit.ended(container_id)).exit_code, 0, "exit code")


@case("attach", "a terminal", needs=ATTACH)
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sh", "-c", "read line; echo got $line; sleep 0.2"], stdin=True, tty=True)
    out = b""
    async with kit.runtime.attach(container_id, stdin=True, tty=True) as session, asyncio.timeout(20):
        await session.stdin.write(b"it\n")
        async for output in session:
            out += output.data
            if b"got it" in out:
                break
    contains(out.decode(errors="replace"), "got it", "what came back")
    equal((await kit.ended(container_id)).exit_code, 0, "exit code")


async def _answer(forward: PortForward, port: int, request: bytes) -> bytes:
    """What comes back until the page is there or the connection ends: over WebSocket it has no end of its own."""
    answer = b""
    async with await forward.connect(port) as connection:
        await connection.write(request)
        async with asyncio.timeout(20):
            while not answer.endswith(b"web\n") and (data := await connection.read()):
                answer += data
    return answer


GET = b"GET /hostname HTTP/1.0\r\n\r\n"


async def _server(kit: Kit) -> str:
    """A sandbox whose /etc is served on its loopback address, port 8080."""
    sandbox_id = await kit.sandbox(hostname="web")
    await kit.start(["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"], sandbox_id)
    script = "i=0; until wget -q -O - http://127.0.0.1:8080/hostname; do i=$((i+1)); [ $i -lt 50 ]; sleep 0.1; done"
    await kit.shell(script, sandbox_id)
    return sandbox_id


@table(
    "port-forward",
    {f"a page from the sandbox's loopback address, over {name}": (name,) for name in TRANSPORTS},
    needs=FORWARD,
)
async def _(kit: Kit, transport: Transport) -> None:
    sandbox_id = await _server(kit)
    async with kit.runtime.port_forward(sandbox_id, transport=transport) as forward:
        contains((await _answer(forward, 8080, GET)).decode(), "web\n", "the answer")


@case("port-forward", "ten connections at once", needs=FORWARD)
async def _(kit: Kit) -> None:
    sandbox_id = await _server(kit)
    async with kit.runtime.port_forward(sandbox_id) as forward:
        answers = await asyncio.gather(*(_answer(forward, 8080, GET) for _ in range(10)))
    equal([answer.endswith(b"web\n") for answer in answers], [True] * 10, "answers with the page")


@case("port-forward", "a port where nothing listens is told, and the others go on", needs=FORWARD)
async def _(kit: Kit) -> None:
    sandbox_id = await _server(kit)
    async with kit.runtime.port_forward(sandbox_id) as forward:
        try:
            came = await _answer(forward, 8081, GET)
        except PodyardError:
            came = b""
        equal(came, b"", "bytes from the closed port")
        contains((await _answer(forward, 8080, GET)).decode(), "web\n", "the answer of the open one")
