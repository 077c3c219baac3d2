"""What the streaming server listens on, and its settings."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.streaming import status
from tests.unit.streaming.serving import command, serving

from podyard.errors import FailedPrecondition
from podyard.streaming import StreamingConfig


async def test_an_address_that_cannot_be_had_is_told() -> None:
    async with serving() as server:
        port = int(server.url("exec", command()).split("/")[2].rpartition(":")[2])
        with pytest.raises(FailedPrecondition, match=str(port)):
            async with serving(port=port):
                raise AssertionError("it serves")


@pytest.mark.parametrize(("address", "host"), [("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
async def test_urls_name_an_address_that_can_be_reached(address: str, host: str) -> None:
    async with serving(address=address) as server:
        url = server.url("exec", command())
        assert url.startswith(f"http://{host}:")
        assert await status(url) == 101


@pytest.mark.parametrize(
    "settings",
    [{"address": "localhost"}, {"tls_cert": "/a"}, {"tokens": 0}, {"port": 70000}, {"tls_minimum": "1.1"}, {"x": 1}],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, StreamingConfig, strict=False)
