"""podyard port-forward as a person calls it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
import socket
import subprocess

from tests.e2e.test_streaming import WEB, listening
from tests.support.commands import LIMIT, PODYARD, Run
from tests.support.pods import Kit


async def test_port_forward_carries_many_connections_and_survives_a_bad_one(
    kit: Kit, environment: dict[str, str]
) -> None:
    sandbox_id = await kit.sandbox()
    server = await kit.start(sandbox_id, ["sh", "-c", WEB])
    await listening(kit, server, 7000)
    digest = (await kit.exec(server, "sha256sum", "/www/file")).split()[0]
    process = await asyncio.create_subprocess_exec(
        *PODYARD,
        *("port-forward", sandbox_id, ":7000", ":7001"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(LIMIT):
            ports: dict[int, int] = {}
            while len(ports) < 2:
                line = (await process.stdout.readline()).decode()
                found = re.fullmatch(r"Forwarding from (?:127\.0\.0\.1|\[::1\]):(\d+) -> (\d+)\n", line)
                assert found, line
                ports[int(found[2])] = int(found[1])

            async def one() -> str:
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[7000])
                writer.write(b"GET /file HTTP/1.0\r\n\r\n")
                head, _, content = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                await writer.wait_closed()
                assert b" 200 " in head
                return hashlib.sha256(content).hexdigest()

            reader, writer = await asyncio.open_connection("127.0.0.1", ports[7001])
            assert await reader.read() == b""
            writer.close()
            assert b"7001" in await process.stderr.readline()
            assert set(await asyncio.gather(*(one() for _ in range(20)))) == {digest}
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_ctrl_c_ends_port_forward_whatever_goes_on_in_it(kit: Kit, environment: dict[str, str]) -> None:
    sandbox_id = await kit.sandbox()
    server = await kit.start(sandbox_id, ["nc", "-ll", "-p", "7000", "-e", "cat"])
    await listening(kit, server, 7000)
    process = await asyncio.create_subprocess_exec(
        *PODYARD,
        *("port-forward", "--address", "127.0.0.1", sandbox_id, ":7000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            found = re.search(rb":(\d+) ->", await process.stdout.readline())
            assert found
            reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
            writer.close()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, err) == (130, b"")


async def test_port_forward_says_what_is_wrong_with_a_port(kit: Kit, run: Run) -> None:
    sandbox_id = await kit.sandbox()
    assert (await asyncio.to_thread(run, "port-forward", sandbox_id, "x:80")).returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await asyncio.to_thread(run, "port-forward", sandbox_id, f"{port}:80")
    assert done.returncode == 5
    assert f"port {port} of 127.0.0.1".encode() in done.stderr
