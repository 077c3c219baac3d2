"""Exec over TLS, with the certificate that podyard makes itself."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.client.streams import Transport
from podyard.cri import api

LIMIT = 30.0 * PATIENCE
TRANSPORTS: tuple[Transport, ...] = ("spdy", "websocket")


async def test_a_certificate_of_its_own_stays_over_a_restart(images: Images, tmp_path: Path) -> None:
    server = Podyard(tmp_path / "own", streaming={"tls": True})
    await asyncio.to_thread(server.start)
    certificate = server.root / "streaming" / "own.pem"
    try:
        async with await Client.connect(server.endpoint) as client:
            await client.images.pull_image(images.busybox)
            kit = Kit(client, tmp_path / "tests", images.busybox, server.name)
            container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"])
            content = certificate.read_bytes()
            assert stat.S_IMODE(certificate.stat().st_mode) == 0o600
            server.terminate()
            server.spawn()
            await server.ready()
            request = api.ExecRequest(container_id=container_id, cmd=["true"], stdout=True)
            answer = await client.runtime.call("Exec", request)
            assert isinstance(answer, api.ExecResponse)
            assert answer.url.startswith("https://127.0.0.1:")
            for transport in TRANSPORTS:
                command = ["sh", "-c", "cat; exit 3"]
                async with (
                    asyncio.timeout(LIMIT),
                    client.runtime.exec(container_id, command, stdin=True, transport=transport) as session,
                ):
                    await session.stdin.write(b"text")
                    await session.stdin.close()
                    assert [output.data async for output in session] == [b"text"]
                    assert await session.wait() == 3
            assert certificate.read_bytes() == content
            await kit.close()
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.reset)
