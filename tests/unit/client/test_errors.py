"""Which error a call raises: the runtime's own, and what the client itself finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from podyard import errors
from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError

POD = api.PodSandboxConfig(hostname="web")
MAIN = api.ContainerConfig(command=["sh"])


@pytest.mark.parametrize(
    "kind",
    [
        errors.InvalidArgument,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.DeadlineExceeded,
        errors.PermissionDenied,
        errors.ResourceExhausted,
        errors.DataLoss,
        errors.Cancelled,
        errors.Internal,
        errors.RegistryUnavailable,
        PodyardError,
    ],
)
async def test_an_error_of_the_runtime_arrives_as_the_same_class_with_the_same_text(
    runtimes: Any, make_runtime: Any, kind: type[PodyardError]
) -> None:
    sent = kind("container 12 ü: 100 % wrong\n(while stopping)")
    await runtimes.serve(calls=make_runtime(StartContainer=sent))
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(PodyardError) as raised:
            await client.runtime.start_container("12")
    assert type(raised.value) is kind
    assert str(raised.value) == str(sent)


async def test_a_call_that_the_endpoint_lacks_is_told(runtimes: Any) -> None:
    await runtimes.serve()
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.Unimplemented, match=r"lacks RuntimeConfig of runtime\.v1\.RuntimeService"):
            await client.runtime.runtime_config()
        with pytest.raises(errors.Unimplemented, match=r"lacks ListPulls of podyard\.admin\.v1\.Admin"):
            await client.admin.list_pulls()


async def test_what_the_runtime_says_of_a_part_that_it_lacks_is_kept(runtimes: Any, make_runtime: Any) -> None:
    error = errors.Unimplemented("user namespaces are not built")
    await runtimes.serve(calls=make_runtime(RunPodSandbox=error))
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.Unimplemented, match=r"lacks RunPodSandbox .*: user namespaces are not built"):
            await client.runtime.run_pod_sandbox(POD)


async def test_a_call_that_the_older_version_lacks_is_not_sent(runtimes: Any, make_runtime: Any) -> None:
    calls = make_runtime(RuntimeConfig=api.RuntimeConfigResponse())
    await runtimes.serve(("v1alpha2",), ("v1alpha2",), calls=calls)
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.Unimplemented, match="speaks v1alpha2, which lacks RuntimeConfig; it is in v1"):
            await client.runtime.runtime_config()
    assert not calls.asked("RuntimeConfig")


async def test_a_call_that_cannot_be_is_refused_before_it_is_sent(runtimes: Any) -> None:
    await runtimes.serve()
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.InvalidArgument, match="no call 'Pull'"):
            await client.images.call("Pull", api.PullImageRequest())
        with pytest.raises(errors.InvalidArgument, match="Version takes a VersionRequest, not a StatusRequest"):
            await client.runtime.call("Version", api.StatusRequest())
        with pytest.raises(errors.InvalidArgument, match=r"with a stream: it is for stream\(\)"):
            await client.runtime.call("StreamContainers", api.StreamContainersRequest())
        with pytest.raises(errors.InvalidArgument, match=r"with one message: it is for call\(\)"):
            await anext(client.runtime.stream("Version", api.VersionRequest()))


async def test_a_call_without_answer_ends_after_its_time(runtimes: Any, make_runtime: Any) -> None:
    async def never(_request: Any) -> Any:
        await asyncio.Event().wait()

    await runtimes.serve(calls=make_runtime(ListContainers=never))
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.DeadlineExceeded, match=r"did not answer ListContainers within 0\.2 s"):
            await client.runtime.call("ListContainers", api.ListContainersRequest(), timeout=0.2)


@pytest.mark.parametrize(
    ("call", "name", "answer", "lacking"),
    [
        (lambda c: c.runtime.status(), "Status", api.StatusResponse(), "the condition RuntimeReady"),
        (lambda c: c.runtime.run_pod_sandbox(POD), "RunPodSandbox", api.RunPodSandboxResponse(), "pod_sandbox_id"),
        (
            lambda c: c.runtime.create_container("s", MAIN, POD),
            "CreateContainer",
            api.CreateContainerResponse(),
            "container_id",
        ),
        (
            lambda c: c.runtime.pod_sandbox_status("s"),
            "PodSandboxStatus",
            api.PodSandboxStatusResponse(status=api.PodSandboxStatus(id="s", created_at=1)),
            "metadata.name, metadata.uid, metadata.namespace",
        ),
        (
            lambda c: c.runtime.container_status("c"),
            "ContainerStatus",
            api.ContainerStatusResponse(status=api.ContainerStatus(id="c", metadata=api.ContainerMetadata(name="m"))),
            "created_at, image.image, image_ref",
        ),
        (lambda c: c.runtime.call("Exec", api.ExecRequest()), "Exec", api.ExecResponse(), "url"),
        (lambda c: c.runtime.call("Attach", api.AttachRequest()), "Attach", api.AttachResponse(), "url"),
        (
            lambda c: c.runtime.call("PortForward", api.PortForwardRequest()),
            "PortForward",
            api.PortForwardResponse(),
            "url",
        ),
        (lambda c: c.images.pull_image("x"), "PullImage", api.PullImageResponse(), "image_ref"),
        (
            lambda c: c.images.image_status("x"),
            "ImageStatus",
            api.ImageStatusResponse(image=api.Image(id="sha256:1")),
            "image.size",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_a_kubelet_would_refuse_is_refused(
    runtimes: Any, make_runtime: Any, make_images: Any, call: Any, name: str, answer: Any, lacking: str
) -> None:
    await runtimes.serve(calls=make_runtime(**{name: answer}), image_calls=make_images(**{name: answer}))
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.Internal) as raised:
            await call(client)
    assert f"answered {name} without {lacking}" in str(raised.value)


# --- runtimes that are not podyard


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """A client of a plain gRPC server whose Status call is a given handler."""
    running: list[Any] = []

    async def version(_content: bytes, _context: Any) -> bytes:
        return api.VersionResponse(
            version="0.1.0", runtime_name="x", runtime_version="1", runtime_api_version="v1"
        ).SerializeToString()

    async def information(_content: bytes, _context: Any) -> bytes:
        return b""

    async def start(status: Any) -> Client:
        server = grpc.aio.server()
        for service, handlers in (
            ("runtime.v1.RuntimeService", {"Version": version, "Status": status}),
            ("runtime.v1.ImageService", {"ImageFsInfo": information}),
        ):
            server.add_generic_rpc_handlers(
                (
                    grpc.method_handlers_generic_handler(
                        service,
                        {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()},
                    ),
                )
            )
        server.add_insecure_port(f"unix:{tmp_path}/x.sock")
        await server.start()
        running.append(server)
        client = await Client.connect(f"{tmp_path}/x.sock")
        running.append(client)
        return client

    yield start
    for one in reversed(running):
        await (one.close() if isinstance(one, Client) else one.stop(0))


@pytest.mark.parametrize("status", ["ABORTED", "OUT_OF_RANGE", "UNAUTHENTICATED"])
async def test_a_status_that_podyard_never_sends_is_named(foreign: Any, status: str) -> None:
    async def handler(_content: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode[status], "because")

    client = await foreign(handler)
    with pytest.raises(PodyardError) as raised:
        await client.runtime.status()
    assert type(raised.value) is PodyardError
    assert str(raised.value) == f"{status}: because"


async def test_an_error_without_text_is_told_with_the_call(foreign: Any) -> None:
    async def handler(_content: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "")

    client = await foreign(handler)
    with pytest.raises(errors.NotFound, match=r"Status on unix://.* NOT_FOUND and no text"):
        await client.runtime.status()


async def test_an_error_with_a_very_long_text_arrives_whole(foreign: Any) -> None:
    async def handler(_content: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "ü" * 50_000)

    client = await foreign(handler)
    with pytest.raises(errors.Internal) as raised:
        await client.runtime.status()
    assert str(raised.value) == "ü" * 50_000


async def test_an_answer_that_cannot_be_read_is_told(foreign: Any) -> None:
    async def handler(_content: bytes, _context: Any) -> bytes:
        return b"\xff\xff\xff"

    client = await foreign(handler)
    with pytest.raises(errors.Internal, match="answered Status with something else"):
        await client.runtime.status()


# --- the end


async def test_a_call_in_flight_ends_with_an_error_when_the_client_is_closed(runtimes: Any, make_runtime: Any) -> None:
    begun = asyncio.Event()

    async def never(_request: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    await runtimes.serve(calls=make_runtime(ListContainers=never))
    client = await Client.connect(str(runtimes.path))
    task = asyncio.create_task(client.runtime.list_containers())
    await begun.wait()
    await client.close()
    with pytest.raises(errors.Cancelled, match="closed during ListContainers"):
        await task
    with pytest.raises(errors.FailedPrecondition, match="closed: Version was not sent"):
        await client.runtime.version()
    await client.close()


async def test_a_caller_that_is_cancelled_stays_cancelled_and_the_client_goes_on(
    runtimes: Any, make_runtime: Any
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(_request: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await runtimes.serve(calls=make_runtime(ListContainers=never))
    async with await Client.connect(str(runtimes.path)) as client:
        task = asyncio.create_task(client.runtime.list_containers())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await ended.wait()
        assert (await client.runtime.version()).runtime_name == "small"
