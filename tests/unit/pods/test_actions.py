"""Actions against real servers on this host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.health import NOT_SERVING, SERVING, serving

from podyard.client import Client
from podyard.errors import DeadlineExceeded, NotFound
from podyard.manifest.model import (
    Container,
    ContainerPort,
    ExecAction,
    GrpcAction,
    HttpGetAction,
    HttpHeader,
    SleepAction,
    TcpSocketAction,
)
from podyard.pods import PodEngine
from podyard.pods.actions import Actions

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    """A server whose connections ``answer`` handles; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


def says(text: bytes, heard: list[bytes] | None = None) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(head)
        writer.write(text)
        await writer.drain()

    return answer


@pytest.fixture
def actions(client: Client) -> Actions:
    return Actions(client, ["127.0.0.1"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered /health with HTTP status 404"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "HTTP status 500"),
        (b"", "port"),
        (b"SSH-2.0-x\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000, "port"),
    ],
)
async def test_a_web_server_is_asked(actions: Actions, answer: bytes, said: str) -> None:
    async with listening(says(answer)) as port:
        failure = await actions.perform(HttpGetAction(port=port, path="/health"), "id", None, 10)
    assert (said in failure) if said else failure == ""


async def test_headers_and_a_named_port_are_used(actions: Actions) -> None:
    heard: list[bytes] = []
    async with listening(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", heard)) as port:
        container = Container(name="a", image="b", ports=(ContainerPort(container_port=port, name="web"),))
        headers = (HttpHeader(name="host", value="example.com"), HttpHeader(name="X-A", value="b"))
        action = HttpGetAction(port="web", path="x?y=1", http_headers=headers)
        assert await actions.perform(action, "id", container, 10) == ""
    (head,) = heard
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /x?y=1 HTTP/1.1"
    assert "X-A: b" in lines
    assert [line for line in lines if line.lower().startswith("host:")] == ["host: example.com"]


async def test_a_mute_server_fails_within_the_time_limit(actions: Actions) -> None:
    release = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    async with listening(mute) as port:
        assert await actions.perform(HttpGetAction(port=port), "id", None, 1) == "no answer within 1 s"
        release.set()


async def test_a_connection_is_all_that_a_tcp_probe_wants(actions: Actions) -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(nothing) as port:
        assert await actions.perform(TcpSocketAction(port=port), "id", None, 10) == ""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert "cannot connect to port" in await actions.perform(TcpSocketAction(port=port), "id", None, 10)


async def test_a_grpc_server_is_asked_for_its_health(actions: Actions) -> None:
    async def answer(question: bytes) -> bytes:
        return SERVING if question.endswith(b"good") else NOT_SERVING

    async with serving(answer) as port:
        assert await actions.perform(GrpcAction(port=port, service="good"), "id", None, 10) == ""
        failure = await actions.perform(GrpcAction(port=port), "id", None, 10)
    assert failure.endswith("the service '' is NOT_SERVING")


async def test_a_commands_exit_code_and_output_are_told(
    runtime: Any, engine: PodEngine, actions: Actions, make_pod: Callable[..., Any]
) -> None:
    await engine.run(make_pod())
    main = runtime.container("main").id
    runtime.exec_codes["no"] = 3
    assert await actions.perform(ExecAction(command=("yes",)), main, None, 10) == ""
    assert await actions.perform(ExecAction(command=("no",)), main, None, 10) == "exit code 3: said"
    runtime.fails["ExecSync main slow"] = DeadlineExceeded("injected")
    assert await actions.perform(ExecAction(command=("slow",)), main, None, 2) == "no answer within 2 s"
    # That a command cannot be run says nothing of the container.
    runtime.fails["ExecSync main lost"] = NotFound("injected")
    with pytest.raises(NotFound):
        await actions.perform(ExecAction(command=("lost",)), main, None, 10)


async def test_sleeping_is_bounded(actions: Actions) -> None:
    assert await actions.perform(SleepAction(seconds=1), "id", None, 10) == ""
    assert await actions.perform(SleepAction(seconds=100), "id", None, 1) == "no answer within 1 s"
