"""The health of gRPC servers, asked of real ones."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from tests.support.health import NOT_SERVING, SERVING, serving

from podyard.client import health_check


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SERVING, ""),
        (NOT_SERVING, "the service 'shop' is NOT_SERVING"),
        (b"", "the service 'shop' is UNKNOWN"),
        (b"\x08\x09", "the service 'shop' is 9"),
        (b"\x08", "something else than a health status"),
    ],
)
async def test_only_serving_is_well(answer: bytes, said: str) -> None:
    heard: list[bytes] = []

    async def say(request: bytes) -> bytes:
        heard.append(request)
        return answer

    async with serving(say) as port:
        found = await health_check("127.0.0.1", port, "shop", 20)
    assert heard == [b"\x0a\x04shop"]
    assert found.endswith(said)
    assert bool(found) is bool(said)


async def test_a_server_without_the_service_or_none_at_all_is_not_well() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert "UNIMPLEMENTED" in await health_check("127.0.0.1", port, "", 20)
    await server.stop(None)
    assert f"port {port}: UNAVAILABLE" in await health_check("127.0.0.1", port, "", 20)


async def test_a_mute_server_is_given_up() -> None:
    async def never(request: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as port:
        assert "DEADLINE_EXCEEDED" in await health_check("127.0.0.1", port, "", 0.2)
