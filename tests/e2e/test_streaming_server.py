"""podyard's streaming server with real containers: what dies with its client, what does not, what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard
from tests.support.streaming import spdy_session, status, websocket

from podyard.client import Client
from podyard.client.streams import Session
from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError
from podyard.wire.remotecommand import Status

LIMIT = 30.0 * PATIENCE
SESSIONS = 200


@pytest.fixture
async def kit(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "streaming", images.busybox, podyard.name)
        try:
            yield kit
        finally:
            await kit.close()


async def running(kit: Kit, script: str = "sleep 1000", **fields: object) -> str:
    return await kit.start(await kit.sandbox(), ["sh", "-c", script], **fields)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.02)


async def read_until(session: Session, text: bytes) -> None:
    found = b""
    async with asyncio.timeout(LIMIT):
        while text not in found:
            piece = await session.stdout.read()
            assert piece, found
            found += piece


async def type_until_seen(typing: Session, watching: Session) -> None:
    """Type "one" until another client has read the answer: what was said before the runtime let it in it never gets."""
    seen = asyncio.create_task(read_until(watching, b"got one\n"))
    while not seen.done():
        await typing.stdin.write(b"one\n")
        await asyncio.wait((seen,), timeout=0.1)
    await seen


def processes(word: str) -> list[int]:
    """The host's processes that have a word in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def zombies(server: Podyard) -> list[str]:
    """The children of a runtime that have ended and that it has not waited for."""
    assert server.process is not None
    found = []
    for child in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(child)
    return found


def descriptors(server: Podyard) -> int:
    assert server.process is not None
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


async def exec_url(kit: Kit, container_id: str, *cmd: str, **fields: bool) -> str:
    request = api.ExecRequest(container_id=container_id, cmd=cmd, **{"stdout": True, **fields})
    answer = await kit.client.runtime.call("Exec", request)
    assert isinstance(answer, api.ExecResponse)
    return answer.url


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_dies_with_its_client_and_with_all_that_it_has_started(kit: Kit, tty: bool) -> None:
    container_id = await running(kit)
    word = f"46{os.getpid()}{int(tty)}"
    # One child, and one that its parent has left to the container's init.
    script = f"sleep {word} & (sleep {word} &); echo up; sleep {word}"
    async with kit.client.runtime.exec(container_id, ["sh", "-c", script], tty=tty) as session:
        await read_until(session, b"up")
        await until(lambda: len(processes(word)) == 3)
    await until(lambda: not processes(word))
    assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING


async def test_children_that_outlive_their_command_are_not_waited_for(kit: Kit) -> None:
    container_id = await running(kit)
    async with kit.client.runtime.exec(container_id, ["sh", "-c", "sleep 1000 & echo done"]) as session:
        async with asyncio.timeout(LIMIT):
            assert [output.data async for output in session] == [b"done\n"]
            assert await session.wait() == 0


@pytest.mark.parametrize("pid", [api.CONTAINER, api.POD])
async def test_a_command_dies_with_its_container(kit: Kit, pid: int) -> None:
    options = api.NamespaceOption(pid=pid)  # type: ignore[arg-type]
    security = api.LinuxSandboxSecurityContext(namespace_options=options)
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(security_context=security))
    own = api.LinuxContainerSecurityContext(namespace_options=options)
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=api.LinuxContainerConfig(security_context=own))
    async with kit.client.runtime.exec(container_id, ["sh", "-c", "echo up; sleep 1000"]) as session:
        await read_until(session, b"up")
        await kit.client.runtime.stop_container(container_id, 0)
        async with asyncio.timeout(LIMIT):
            assert await session.wait() == 137


async def test_a_command_that_reads_nothing_does_not_hide_that_its_client_has_gone(kit: Kit) -> None:
    container_id = await running(kit)
    word = f"47{os.getpid()}"
    url = await exec_url(kit, container_id, "sleep", word, stdin=True)
    async with spdy_session(url) as client:
        client.be_like_go()
        stdin = [client.open(streamtype=kind) for kind in ("error", "stdout", "stdin")][2]
        client.send(stdin, bytes(16 << 20))
        await until(lambda: len(processes(word)) == 1)
        client.answer.writer.transport.abort()
    await until(lambda: not processes(word))


async def test_what_cannot_be_asked_for(kit: Kit) -> None:
    container_id = await running(kit)
    for fields in ({"tty": True, "stderr": True}, {"stdout": False}):
        with pytest.raises(InvalidArgument):
            await exec_url(kit, container_id, "true", **fields)
        request = api.AttachRequest(container_id=container_id, **{"stdout": True, **fields})  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            await kit.client.runtime.call("Attach", request)
    with pytest.raises(InvalidArgument, match="cmd"):
        await exec_url(kit, container_id)
    with pytest.raises(InvalidArgument, match="made with tty False"):
        await kit.client.runtime.call("Attach", api.AttachRequest(container_id=container_id, stdin=True, tty=True))
    forward = api.PortForwardRequest(pod_sandbox_id=(await kit.status(container_id)).id, port=[0])
    with pytest.raises(PodyardError):
        await kit.client.runtime.call("PortForward", forward)
    await kit.client.runtime.stop_container(container_id, 0)
    with pytest.raises(FailedPrecondition, match="exited"):
        await exec_url(kit, container_id, "true")


async def test_a_url_that_outlives_its_container_tells_so(kit: Kit) -> None:
    container_id = await running(kit)
    url = await exec_url(kit, container_id, "true")
    await kit.client.runtime.stop_container(container_id, 0)
    async with websocket(url) as client:
        assert await client.until_closed() == 1000
        told = Status.decode(client.channel(3), "v5.channel.k8s.io")
    assert "exited" in told.message


async def test_several_clients_see_the_same_output_and_detaching_changes_nothing(kit: Kit) -> None:
    container_id = await running(kit, "while read line; do echo got $line; done; echo end", stdin=True)
    attach = kit.client.runtime.attach
    async with attach(container_id) as watching, attach(container_id, stdin=True) as typing:
        await type_until_seen(typing, watching)
        await read_until(typing, b"got one\n")
    assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
    async with attach(container_id, stdin=True) as typing:
        await typing.stdin.write(b"two\n")
        await read_until(typing, b"got two\n")


async def test_standard_input_for_one_client_ends_with_it(kit: Kit) -> None:
    container_id = await running(kit, "cat; echo end", stdin=True, stdin_once=True)
    async with kit.client.runtime.attach(container_id, stdin=True) as session:
        await session.stdin.write(b"text\n")
        await read_until(session, b"text\n")
    assert kit.output(await kit.ended(container_id)) == "text\nend\n"


async def test_a_client_that_only_watches_does_not_end_the_input_that_is_anothers(kit: Kit) -> None:
    container_id = await running(kit, "while read line; do echo got $line; done; echo end", stdin=True, stdin_once=True)
    attach = kit.client.runtime.attach
    async with attach(container_id, stdin=True) as typing:
        async with attach(container_id) as watching:
            await type_until_seen(typing, watching)
        for number in range(50):
            await typing.stdin.write(b"%d\n" % number)
            await read_until(typing, b"got %d\n" % number)
    assert kit.output(await kit.ended(container_id)).endswith("got 49\nend\n")


async def test_ten_megabytes_through_a_containers_own_streams(kit: Kit) -> None:
    container_id = await running(kit, "cat", stdin=True, stdin_once=True)
    content, found = os.urandom(10_000_000), bytearray()
    async with kit.client.runtime.attach(container_id, stdin=True) as session:

        async def feed() -> None:
            await session.stdin.write(content)
            await session.stdin.close()

        feeding = asyncio.create_task(feed())
        async with asyncio.timeout(2 * LIMIT):
            async for piece in session.stdout:
                found += piece
        await feeding
    assert bytes(found) == content


@pytest.mark.parametrize("network", [api.POD, api.NODE])
async def test_ports_of_the_pod_over_both_families(kit: Kit, network: int) -> None:
    security = api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(network=network))  # type: ignore[arg-type]
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(security_context=security))
    own = api.LinuxContainerConfig(
        security_context=api.LinuxContainerSecurityContext(
            namespace_options=api.NamespaceOption(network=network, pid=api.CONTAINER)
        )  # type: ignore[arg-type]
    )
    await kit.start(sandbox_id, ["httpd", "-f", "-p", "127.0.0.1:17321"], linux=own)
    await kit.start(sandbox_id, ["httpd", "-f", "-p", "[::1]:17322"], linux=own)
    async with kit.client.runtime.port_forward(sandbox_id) as forward:
        for port in (17321, 17322):
            async with asyncio.timeout(LIMIT):
                while True:
                    async with await forward.connect(port) as connection:
                        with contextlib.suppress(PodyardError):
                            await connection.write(b"GET / HTTP/1.0\r\n\r\n")
                            assert (await connection.read()).startswith(b"HTTP/1")
                            break
                    await asyncio.sleep(0.05)


async def test_forwarding_ends_with_its_pod(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    answer = await kit.client.runtime.call("PortForward", api.PortForwardRequest(pod_sandbox_id=sandbox_id, port=[80]))
    assert isinstance(answer, api.PortForwardResponse)
    async with spdy_session(answer.url, "portforward.k8s.io") as client:
        pair = {"port": "80", "requestid": "1"}
        error, data = (client.open(streamtype=kind, **pair) for kind in ("error", "data"))
        await client.until_ended(error, data)
        assert b"Connection refused" in client.data[error]
        await kit.client.runtime.stop_pod_sandbox(sandbox_id)
        async with asyncio.timeout(LIMIT):
            while await client.step():
                continue


async def test_a_restart_ends_sessions_and_urls_and_nothing_else(kit: Kit, podyard: Podyard) -> None:
    container_id = await running(kit, "while read line; do echo got $line; done", stdin=True)
    word = f"48{os.getpid()}"
    url = await exec_url(kit, container_id, "true")
    async with kit.client.runtime.exec(container_id, ["sh", "-c", f"echo up; sleep {word}"]) as session:
        await read_until(session, b"up")
        assert podyard.terminate() == 0
        assert not processes(word)
        podyard.spawn()
        await podyard.ready()
    with contextlib.suppress(ConnectionRefusedError):
        assert await status(url) == 404
    async with kit.client.runtime.attach(container_id, stdin=True) as session:
        await session.stdin.write(b"still here\n")
        await read_until(session, b"got still here\n")


async def test_two_hundred_commands_at_once_of_which_nothing_is_left(kit: Kit, podyard: Podyard) -> None:
    container_id = await running(kit, "sleep 1000")
    bundle = podyard.run / "bundles" / container_id
    await kit.exec(container_id, "true")
    before, word = descriptors(podyard), f"49{os.getpid()}"
    up, all_up = 0, asyncio.Event()

    async def one(number: int) -> None:
        nonlocal up
        script = f"echo up; [ $0 -lt 20 ] && yes; cat; sleep {word}"
        url = await exec_url(kit, container_id, "sh", "-c", script, str(number), stdin=True)
        async with spdy_session(url) as client:
            _, stdin, stdout = (client.open(streamtype=kind) for kind in ("error", "stdin", "stdout"))
            if number % 10 == 9:
                return  # at once
            async with asyncio.timeout(4 * LIMIT):
                while b"\n" not in client.data[stdout]:
                    await client.step()
                up += 1
                if up == SESSIONS - SESSIONS // 10:
                    all_up.set()
                # Some have more to say, and nobody reads it.
                await all_up.wait()
                await others_done.wait()
            if number % 3 == 1:
                client.answer.writer.transport.abort()
            elif number % 3 == 2:
                client.send(stdin, b"x" * 100_000, fin=True)

    others_done = asyncio.Event()
    sessions = [asyncio.create_task(one(number)) for number in range(SESSIONS)]
    async with asyncio.timeout(4 * LIMIT):
        await all_up.wait()
        async with kit.client.runtime.exec(container_id, ["cat"], stdin=True) as session:
            for number in range(100):
                await session.stdin.write(b"%d\n" % number)
                await read_until(session, b"%d\n" % number)
    others_done.set()
    await asyncio.gather(*sessions)
    await until(lambda: not processes(word))
    await until(lambda: descriptors(podyard) <= before)
    await until(lambda: not list(bundle.glob("exec-*")))
    await until(lambda: not zombies(podyard))


async def test_a_suspended_client_of_attach_does_not_hold_the_container_for_ever(kit: Kit) -> None:
    container_id = await running(kit, "read line; head -c 100000000 /dev/zero; echo; echo over >&2", stdin=True)
    answer = await kit.client.runtime.call(
        "Attach", api.AttachRequest(container_id=container_id, stdin=True, stdout=True)
    )
    assert isinstance(answer, api.AttachResponse)
    async with spdy_session(answer.url) as client:
        client.be_like_go()
        stdin = [client.open(streamtype=kind) for kind in ("error", "stdout", "stdin")][2]
        client.send(stdin, b"go\n")
        await asyncio.sleep(0)
        assert (await kit.ended(container_id)).exit_code == 0
