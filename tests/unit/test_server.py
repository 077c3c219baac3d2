"""The gRPC server on a real socket, asked by a plain gRPC channel."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from podyard import errors
from podyard.cri import api, services
from podyard.server import LISTS, MESSAGE_LIMIT, STATUS_LIMIT, Server

Ask = Callable[[str, bytes], Awaitable[bytes]]


class Runtime:
    """A RuntimeService with a few calls."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.length = 0
        self.closed = asyncio.Event()

    async def Version(self, request: api.VersionRequest, api_version: str = "") -> api.VersionResponse:
        return api.VersionResponse(version=request.version, runtime_api_version=api_version)

    async def StartContainer(self, request: api.StartContainerRequest) -> api.StartContainerResponse:
        if self.error is not None:
            raise self.error
        return api.StartContainerResponse()

    async def ListContainers(self, request: api.ListContainersRequest) -> api.ListContainersResponse:
        return api.ListContainersResponse(containers=[api.Container(id="x" * self.length)])

    async def ContainerStatus(self, request: api.ContainerStatusRequest) -> api.ContainerStatusResponse:
        return api.ContainerStatusResponse(info={"info": "x" * self.length})

    async def StreamContainers(
        self, request: api.StreamContainersRequest
    ) -> AsyncGenerator[api.StreamContainersResponse, None]:
        try:
            for number in range(3):
                yield api.StreamContainersResponse(containers=[api.Container(id=str(number))])
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    async def GetContainerEvents(
        self, request: api.GetEventsRequest
    ) -> AsyncGenerator[api.ContainerEventResponse, None]:
        try:
            await asyncio.Event().wait()
            yield api.ContainerEventResponse()
        finally:
            self.closed.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(slow_call=60, gate=lambda: "")
    yield made
    await made.close(0)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
async def channel(server: Server, runtime: Runtime, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    path = tmp_path / "x.sock"
    await server.listen(path, [("v1", "RuntimeService", runtime), ("v1alpha2", "RuntimeService", runtime)])
    async with grpc.aio.insecure_channel(f"unix:{path}") as made:
        yield made


@pytest.fixture
def ask(channel: grpc.aio.Channel) -> Ask:
    async def send(path: str, request: bytes = b"") -> bytes:
        return bytes(await channel.unary_unary(path)(request, timeout=10))

    return send


async def refusal(answer: Awaitable[bytes]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer
    return raised.value.code().name, raised.value.details() or ""


@pytest.mark.parametrize("version", ["v1", "v1alpha2"])
async def test_both_versions_are_served_by_the_same_methods_and_version_tells_which(ask: Ask, version: str) -> None:
    content = await ask(
        f"/runtime.{version}.RuntimeService/Version", api.VersionRequest(version="x").SerializeToString()
    )
    assert api.VersionResponse.FromString(content) == api.VersionResponse(version="x", runtime_api_version=version)


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(
    server: Server, runtime: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "not there yet" / "x.sock"
    await server.listen(path, [("v1", "RuntimeService", runtime)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await server.close(0)
    assert not path.exists()


async def test_a_path_with_odd_characters_is_taken_as_it_is(server: Server, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "a%41 #?ü.sock"
    await server.listen(path, [("v1", "RuntimeService", runtime)])
    assert path.is_socket()


@pytest.mark.parametrize("call", ["Exec", "ListContainerStats"])
async def test_a_call_that_is_not_built_is_named(ask: Ask, call: str) -> None:
    status, text = await refusal(ask(f"/runtime.v1.RuntimeService/{call}", b""))
    assert status == "UNIMPLEMENTED"
    assert call in text


@pytest.mark.parametrize("call", ["StreamPodSandboxes", "StreamContainerStats"])
async def test_a_stream_that_is_not_built_is_refused_cleanly(
    channel: grpc.aio.Channel, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in channel.unary_stream(f"/runtime.v1.RuntimeService/{call}")(b"", timeout=10):
            raise AssertionError("nothing is streamed")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert call in (raised.value.details() or "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stream_ends_when_its_client_goes(channel: grpc.aio.Channel, runtime: Runtime) -> None:
    call = channel.unary_stream("/runtime.v1.RuntimeService/StreamContainers")(b"", timeout=20)
    answers = [await call.read() for _ in range(3)]
    ids = [api.StreamContainersResponse.FromString(answer).containers[0].id for answer in answers]
    assert ids == ["0", "1", "2"]
    call.cancel()
    async with asyncio.timeout(10):
        await runtime.closed.wait()


async def test_an_error_in_a_stream_is_told(channel: grpc.aio.Channel, runtime: Runtime) -> None:
    runtime.error = errors.NotFound("no such thing")
    with pytest.raises(grpc.aio.AioRpcError, match="no such thing") as raised:
        async for _ in channel.unary_stream("/runtime.v1.RuntimeService/StreamContainers")(b"", timeout=20):
            pass
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "path", ["/runtime.v1alpha2.RuntimeService/Exec", "/runtime.v1alpha2.RuntimeService/CheckpointPod"]
)
async def test_the_older_version_refuses_what_is_not_built_and_what_it_never_had(ask: Ask, path: str) -> None:
    status, _ = await refusal(ask(path, b""))
    assert status == "UNIMPLEMENTED"


async def test_a_service_that_is_not_served_is_unimplemented(ask: Ask) -> None:
    status, _ = await refusal(ask("/runtime.v1.ImageService/ListImages", b""))
    assert status == "UNIMPLEMENTED"


async def test_a_request_that_cannot_be_read_is_an_invalid_argument(ask: Ask) -> None:
    status, text = await refusal(ask("/runtime.v1.RuntimeService/StartContainer", b"\xff\xff\xff"))
    assert status == "INVALID_ARGUMENT"
    assert "no StartContainerRequest" in text


async def test_no_call_is_answered_while_the_gate_is_shut(tmp_path: Path, runtime: Runtime) -> None:
    state = ["recovering"]
    server = Server(slow_call=60, gate=lambda: state[0])
    path = tmp_path / "gated.sock"
    await server.listen(path, [("v1", "RuntimeService", runtime)])
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        send = channel.unary_unary("/runtime.v1.RuntimeService/Version")
        assert await refusal(send(b"", timeout=10)) == ("UNAVAILABLE", "recovering")
        state[0] = ""
        assert api.VersionResponse.FromString(await send(b"", timeout=10)).runtime_api_version == "v1"
    await server.close(0)


async def test_an_error_becomes_its_status_and_its_text(ask: Ask, runtime: Runtime) -> None:
    runtime.error = errors.FailedPrecondition("container ü is running: 100 %")
    answer = await refusal(ask("/runtime.v1.RuntimeService/StartContainer", b""))
    assert answer == ("FAILED_PRECONDITION", "container ü is running: 100 %")


async def test_an_unexpected_error_is_internal_and_logged_with_its_cause(
    ask: Ask, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.error = ZeroDivisionError("by zero")
    status, text = await refusal(ask("/runtime.v1.RuntimeService/StartContainer", b""))
    assert status == "INTERNAL"
    assert "ZeroDivisionError" in text and "answering StartContainer" in text
    assert [record for record in caplog.records if record.exc_info and record.exc_info[1] is runtime.error]


@pytest.mark.parametrize("character", ["x", "ü", "%", "\n", "😀"])
async def test_a_text_longer_than_a_status_can_carry_is_cut_and_says_so(
    ask: Ask, runtime: Runtime, character: str
) -> None:
    runtime.error = errors.Internal(character * 50_000)
    status, text = await refusal(ask("/runtime.v1.RuntimeService/StartContainer", b""))
    assert status == "INTERNAL"
    assert text.startswith(character * 100)
    assert text.endswith("[cut: 50000 characters in all]")
    assert len(text) <= STATUS_LIMIT + 40


async def test_a_text_with_bytes_that_are_no_utf8_is_sent_all_the_same(ask: Ask, runtime: Runtime) -> None:
    runtime.error = errors.NotFound("no file a\udcff")
    assert await refusal(ask("/runtime.v1.RuntimeService/StartContainer", b"")) == ("NOT_FOUND", "no file a?")


async def test_a_slow_call_is_logged_with_its_name(
    tmp_path: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(slow_call=-1, gate=lambda: "")
    path = tmp_path / "slow.sock"
    await server.listen(path, [("v1", "RuntimeService", runtime)])
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await channel.unary_unary("/runtime.v1.RuntimeService/Version")(b"", timeout=10)
    await server.close(0)
    assert any("slow call" in record.getMessage() and "Version" in record.getMessage() for record in caplog.records)


async def test_a_stale_socket_is_taken_over(server: Server, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await server.listen(path, [("v1", "RuntimeService", runtime)])
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await channel.unary_unary("/runtime.v1.RuntimeService/Version")(b"", timeout=10)


async def test_a_socket_where_somebody_listens_is_left_alone(server: Server, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(errors.FailedPrecondition, match="another daemon"):
            await server.listen(path, [("v1", "RuntimeService", runtime)])
    assert path.is_socket()


async def test_a_socket_whose_owner_is_too_busy_to_accept_is_left_alone(
    server: Server, runtime: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(path))
        with pytest.raises(errors.FailedPrecondition, match="in use"):
            await server.listen(path, [("v1", "RuntimeService", runtime)])
        for one in waiting:
            one.close()
    assert path.is_socket()


async def test_a_file_that_is_no_socket_is_left_alone(server: Server, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(errors.FailedPrecondition, match="is no socket"):
        await server.listen(path, [("v1", "RuntimeService", runtime)])
    assert path.read_text(encoding="utf-8") == "mine"


async def test_a_call_in_flight_gets_its_answer_while_the_server_closes(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        async def Version(self, request: api.VersionRequest) -> api.VersionResponse:
            begun.set()
            await go_on.wait()
            return api.VersionResponse(runtime_name="slow")

    server = Server(slow_call=60, gate=lambda: "")
    path = tmp_path / "closing.sock"
    await server.listen(path, [("v1", "RuntimeService", Slow())])
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        call: Any = channel.unary_unary("/runtime.v1.RuntimeService/Version")(b"", timeout=20)
        await begun.wait()
        closing = asyncio.create_task(server.close(20))
        go_on.set()
        assert api.VersionResponse.FromString(await call).runtime_name == "slow"
        await closing


async def test_a_list_that_no_client_would_take_is_refused_and_the_stream_is_named(ask: Ask, runtime: Runtime) -> None:
    runtime.length = MESSAGE_LIMIT
    status, text = await refusal(ask("/runtime.v1.RuntimeService/ListContainers"))
    assert status == "RESOURCE_EXHAUSTED"
    assert "StreamContainers" in text
    assert "filter" in text


async def test_other_long_answers_are_sent(channel: grpc.aio.Channel, runtime: Runtime, tmp_path: Path) -> None:
    runtime.length = MESSAGE_LIMIT
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'x.sock'}", options=options) as patient:
        content = await patient.unary_unary("/runtime.v1.RuntimeService/ContainerStatus")(b"", timeout=20)
    assert len(content) > MESSAGE_LIMIT


def test_every_list_that_has_a_stream_names_it() -> None:
    calls = {method.name: method for service in services.METHODS.values() for method in service}
    assert set(LISTS.values()) == {name for name in calls if name.startswith("Stream")}
    assert all(calls[stream].server_streaming and not calls[unary].server_streaming for unary, stream in LISTS.items())


async def test_a_stream_tells_that_it_is_served_before_it_has_something_to_say(
    channel: grpc.aio.Channel, runtime: Runtime
) -> None:
    stream = channel.unary_stream("/runtime.v1.RuntimeService/GetContainerEvents")(b"", timeout=10)
    await stream.initial_metadata()
    stream.cancel()
    await asyncio.wait_for(runtime.closed.wait(), 10)
