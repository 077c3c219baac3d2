"""The daemon's metrics, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from podyard.config import load
from podyard.errors import ConfigError, FailedPrecondition
from podyard.metrics import REQUEST_LIMIT, MetricsServer, text
from podyard.model.metric import Metric

METRICS = [
    Metric("a_total", "counter", "What.", 3, (("kind", "x"),)),
    Metric("a_total", "counter", "What.", 2.5, (("kind", 'a "b"\\\n'), ("other", ""))),
    Metric("b", "gauge", "More.", 1e15),
]

TEXT = r"""# HELP a_total What.
# TYPE a_total counter
a_total{kind="x"} 3
a_total{kind="a \"b\"\\\n",other=""} 2.5
# HELP b More.
# TYPE b gauge
b 1000000000000000
"""


def test_the_text_is_as_prometheus_has_it() -> None:
    assert text(METRICS) == TEXT
    assert text([]) == ""


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0", lambda: METRICS)
    await server.start()
    yield server
    await server.close()


async def ask(server: MetricsServer, request: bytes) -> tuple[str, str]:
    """The status line and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    if not request.endswith(b"\r\n\r\n"):
        writer.write_eof()
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.partition("\r\n")[0], body


async def test_metrics_are_served(server: MetricsServer) -> None:
    for target in (b"/metrics", b"/metrics?x=y"):
        status, body = await ask(server, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (status, body) == ("HTTP/1.1 200 ", TEXT)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        (b"nonsense\r\n\r\n", "400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 2 * REQUEST_LIMIT + b"\r\n\r\n", "431"),
    ],
)
async def test_what_is_no_request_for_metrics_is_refused(server: MetricsServer, request_: bytes, status: str) -> None:
    assert (await ask(server, request_))[0].split()[1] == status


async def test_a_client_that_says_nothing_harms_nobody(server: MetricsServer) -> None:
    await ask(server, b"")
    assert (await ask(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))[1] == TEXT


async def test_an_address_that_is_taken_is_told(server: MetricsServer) -> None:
    second = MetricsServer(f"127.0.0.1:{server.port}", lambda: [])
    with pytest.raises(FailedPrecondition, match=f"port {server.port} for metrics.*metrics_listen"):
        await second.start()


@pytest.mark.parametrize("address", ["9470", ":9470", "host", "host:port", "a b:1", "127.0.0.1:65536"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="metrics_listen"):
        load(None, {"metrics_listen": address})


def test_an_address_of_either_family_is_taken() -> None:
    for address in ("127.0.0.1:9470", "[::1]:9470", "node-1.test:80"):
        assert load(None, {"metrics_listen": address}).metrics_listen == address
