"""Exec, attach and port-forward through the client's sessions, over both transports."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest
from tests.support.patience import PATIENCE
from tests.support.pods import Kit

from podyard.client.streams import Connection, Session, Transport
from podyard.errors import Internal, NotFound, PodyardError, Unavailable, Unimplemented

ECHO = "exec nc -ll -p 7000 -e cat"
WEB = "mkdir /www; head -c 300000 /dev/urandom > /www/file; exec httpd -f -p 7000 -h /www"
SIZE = 50_000_000
LIMIT = 30.0 * PATIENCE


@pytest.fixture(params=["spdy", "websocket"])
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param  # type: ignore[no-any-return]


async def running(kit: Kit, script: str = "sleep 1000", **fields: object) -> tuple[str, str]:
    """A sandbox with a container; the ids of both."""
    sandbox_id = await kit.sandbox()
    return sandbox_id, await kit.start(sandbox_id, ["sh", "-c", script], **fields)


async def outcome(session: Session) -> tuple[bytes, bytes, int]:
    """All that a process writes, and its exit code."""
    written = {"stdout": bytearray(), "stderr": bytearray()}
    async with asyncio.timeout(LIMIT):
        async for output in session:
            written[output.stream] += output.data
        return bytes(written["stdout"]), bytes(written["stderr"]), await session.wait()


async def until(session: Session, text: bytes) -> bytes:
    """What comes on standard output, up to a text."""
    found = b""
    async with asyncio.timeout(LIMIT):
        while text not in found:
            piece = await session.stdout.read()
            assert piece, f"it ended with {found!r}"
            found += piece
    return found


async def test_output_errors_and_the_exit_code_of_a_command(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)
    command = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    async with kit.client.runtime.exec(container_id, command, transport=transport) as session:
        assert await outcome(session) == (b"out\n", b"err\n", 7)
    async with kit.client.runtime.exec(container_id, ["true"], transport=transport) as session:
        assert await outcome(session) == (b"", b"", 0)


async def test_a_command_that_cannot_be_run_is_an_error_that_names_it(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)
    async with kit.client.runtime.exec(container_id, ["no-such-command"], transport=transport) as session:
        with pytest.raises(PodyardError, match="no-such-command"):
            await outcome(session)


async def test_the_end_of_standard_input_reaches_the_command(kit: Kit) -> None:
    _, container_id = await running(kit)
    async with kit.client.runtime.exec(container_id, ["sh", "-c", "cat; echo end"], stdin=True) as session:
        await session.stdin.write(b"text\n")
        await session.stdin.close()
        assert await outcome(session) == (b"text\nend\n", b"", 0)


async def test_over_a_websocket_the_end_of_input_arrives_or_is_refused(kit: Kit) -> None:
    _, container_id = await running(kit)
    async with kit.client.runtime.exec(container_id, ["cat"], stdin=True, transport="websocket") as session:
        await session.stdin.write(b"text\n")
        assert await until(session, b"\n") == b"text\n"
        if session.protocol.startswith("v5"):
            await session.stdin.close()
            assert await outcome(session) == (b"", b"", 0)
        else:
            with pytest.raises(Unimplemented, match="spdy"):
                await session.stdin.close()


async def test_fifty_megabytes_through_cat_arrive_whole(kit: Kit) -> None:
    _, container_id = await running(kit)
    content = os.urandom(SIZE)
    digest = hashlib.sha256()
    async with kit.client.runtime.exec(container_id, ["cat"], stdin=True) as session:

        async def feed() -> None:
            await session.stdin.write(content)
            await session.stdin.close()

        feeding = asyncio.create_task(feed())
        async with asyncio.timeout(2 * LIMIT):
            async for piece in session.stdout:
                digest.update(piece)
        await feeding
        assert await session.wait() == 0
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()


async def test_a_reader_who_waits_gets_everything(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)
    command = ["head", "-c", "20000000", "/dev/zero"]
    async with kit.client.runtime.exec(container_id, command, transport=transport) as session:
        assert await session.stdout.read(1) == b"\0"
        await asyncio.sleep(0.5)  # the connection is full meanwhile, and nothing is thrown away
        out, err, code = await outcome(session)
    assert (len(out), err, code) == (19_999_999, b"", 0)


async def test_many_sessions_at_once(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)

    async def one(number: int) -> tuple[bytes, bytes, int]:
        command = ["sh", "-c", f"echo {number}; exit {number}"]
        async with kit.client.runtime.exec(container_id, command, transport=transport) as session:
            return await outcome(session)

    found = await asyncio.gather(*(one(number) for number in range(20)))
    assert found == [(f"{number}\n".encode(), b"", number) for number in range(20)]


# Sizes and input travel on channels of their own: the size is asked for until it is the new one.
SIZED = 'until [ "$(stty size)" = "%s" ]; do sleep 0.05; done; echo now %s'


async def test_a_terminal_has_the_size_that_it_is_given(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)
    command = ["sh", "-c", f"read line; {SIZED % ('33 101', 'wide')}; {SIZED % ('30 90', 'narrow')}; echo err >&2"]
    async with kit.client.runtime.exec(container_id, command, stdin=True, tty=True, transport=transport) as session:
        await session.resize(101, 33)
        await session.stdin.write(b"one\n")
        assert b"now wide\r\n" in await until(session, b"wide\r\n")
        await session.resize(90, 30)
        out, err, code = await outcome(session)
    assert out.endswith(b"now narrow\r\nerr\r\n")
    assert (err, code) == (b"", 0)


async def test_the_interrupt_character_reaches_the_process_in_a_terminal(kit: Kit) -> None:
    _, container_id = await running(kit)
    command = ["sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while true; do sleep 0.1; done"]
    async with kit.client.runtime.exec(container_id, command, stdin=True, tty=True) as session:
        await until(session, b"ready")
        await session.stdin.write(b"\x03")
        out, _, code = await outcome(session)
    assert b"interrupted" in out
    assert code == 3


async def test_exec_in_what_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        async with kit.client.runtime.exec("0" * 64, ["true"]):
            raise AssertionError("it began")


async def test_attach_reads_and_writes_the_containers_own_streams(kit: Kit, transport: Transport) -> None:
    script = 'while read line; do echo "out $line"; echo "err $line" >&2; done; exit 4'
    _, container_id = await running(kit, script, stdin=True)
    async with kit.client.runtime.attach(container_id, stdin=True, transport=transport) as session:
        await session.stdin.write(b"one\n")
        assert await until(session, b"\n") == b"out one\n"
        assert await session.stderr.read() == b"err one\n"
    async with kit.client.runtime.attach(container_id, stdin=True, transport=transport) as session:
        await session.stdin.write(b"two\n")
        assert await until(session, b"\n") == b"out two\n"
    assert "out two\n" in kit.output(await kit.status(container_id))


async def test_attach_ends_with_the_container(kit: Kit) -> None:
    _, container_id = await running(kit, "read line; echo bye; exit 5", stdin=True, stdin_once=True)
    async with kit.client.runtime.attach(container_id, stdin=True) as session:
        await session.stdin.write(b"go\n")
        out, _, code = await outcome(session)
    assert (out, code) == (b"bye\n", 0)
    assert (await kit.ended(container_id)).exit_code == 5


async def test_attach_to_a_terminal(kit: Kit) -> None:
    _, container_id = await running(kit, f"read line; {SIZED % ('22 77', '$line')}; cat", stdin=True, tty=True)
    async with kit.client.runtime.attach(container_id, stdin=True, tty=True) as session:
        await session.resize(77, 22)
        await session.stdin.write(b"wide\n")
        await until(session, b"now wide\r\n")


async def echoed(connection: Connection, content: bytes) -> bytes:
    """What comes back of something that is sent."""
    sending = asyncio.create_task(connection.write(content))
    found = b""
    async with asyncio.timeout(LIMIT):
        while len(found) < len(content):
            found += await connection.read()
    await sending
    return found


async def listening(kit: Kit, container_id: str, *ports: int) -> None:
    """Wait until the container listens on ports."""
    async with asyncio.timeout(LIMIT):
        while True:
            table = await kit.exec(container_id, "cat", "/proc/net/tcp", "/proc/net/tcp6")
            if all(f":{port:04X} " in table for port in ports):
                return
            await asyncio.sleep(0.05)


async def test_a_hundred_connections_at_once_to_a_port(kit: Kit, transport: Transport) -> None:
    sandbox_id, container_id = await running(kit, WEB)
    await listening(kit, container_id, 7000)
    digest = (await kit.exec(container_id, "sha256sum", "/www/file")).split()[0]
    async with kit.client.runtime.port_forward(sandbox_id, transport=transport) as forward:

        async def one() -> str:
            async with await forward.connect(7000) as connection:
                await connection.write(b"GET /file HTTP/1.0\r\n\r\n")
                answer = b""
                while piece := await connection.read():
                    answer += piece
            return hashlib.sha256(answer.partition(b"\r\n\r\n")[2]).hexdigest()

        async with asyncio.timeout(LIMIT):
            assert set(await asyncio.gather(*(one() for _ in range(100)))) == {digest}


async def test_a_port_where_nobody_listens_is_the_connections_error_alone(kit: Kit, transport: Transport) -> None:
    sandbox_id, container_id = await running(kit, ECHO)
    await listening(kit, container_id, 7000)
    async with (
        kit.client.runtime.port_forward(sandbox_id, transport=transport) as forward,
        await forward.connect(7000) as good,
        await forward.connect(7001) as bad,
    ):
        with pytest.raises(Unavailable, match="7001"):
            await bad.read()
        content = os.urandom(1_000_000)
        assert await echoed(good, content) == content


async def test_the_end_of_what_is_sent_reaches_the_port(kit: Kit) -> None:
    sandbox_id, container_id = await running(kit, "nc -l -p 7000 -e md5sum; sleep 1000")
    await listening(kit, container_id, 7000)
    content = os.urandom(1_000_000)
    async with kit.client.runtime.port_forward(sandbox_id) as forward, await forward.connect(7000) as connection:
        await connection.write(content)
        await connection.end()
        found = b""
        async with asyncio.timeout(LIMIT):
            while piece := await connection.read():
                found += piece
    assert found == hashlib.md5(content).hexdigest().encode() + b"  -\n"


async def test_forwarding_to_what_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        async with kit.client.runtime.port_forward("0" * 64):
            raise AssertionError("it began")


async def test_leaving_a_session_with_a_command_that_runs_is_quick(kit: Kit, transport: Transport) -> None:
    _, container_id = await running(kit)
    async with asyncio.timeout(LIMIT):
        async with kit.client.runtime.exec(container_id, ["sleep", "600"], transport=transport):
            pass


async def test_a_session_that_breaks_is_told_and_not_taken_for_success(kit: Kit) -> None:
    sandbox_id, container_id = await running(kit)
    async with kit.client.runtime.exec(container_id, ["sh", "-c", "echo up; sleep 600"]) as session:
        await until(session, b"up")
        stopping = asyncio.create_task(kit.client.runtime.stop_pod_sandbox(sandbox_id))
        try:
            _, _, code = await outcome(session)
        except (Unavailable, Internal):
            code = -1
        await stopping
    assert code != 0
