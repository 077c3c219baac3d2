"""Which version is chosen, and what becomes of an endpoint that has none: the table of the kubelet's behaviour."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard import errors
from podyard.client import Client
from podyard.cri import api
from podyard.errors import EndpointError, InvalidArgument

BOTH = ("v1", "v1alpha2")


@pytest.mark.parametrize(
    ("runtime", "images", "chosen"),
    [
        (("v1",), ("v1",), ("v1", "v1")),
        (BOTH, BOTH, ("v1", "v1")),
        (("v1alpha2",), ("v1alpha2",), ("v1alpha2", "v1alpha2")),
        (("v1",), ("v1alpha2",), ("v1", "v1alpha2")),
        (("v1alpha2",), ("v1",), ("v1alpha2", "v1")),
    ],
)
async def test_each_service_is_spoken_in_the_newest_version_of_both_ends(
    runtimes: Any, runtime: tuple[str, ...], images: tuple[str, ...], chosen: tuple[str, str]
) -> None:
    await runtimes.serve(runtime, images)
    async with await Client.connect(str(runtimes.path)) as client:
        assert (client.runtime_version, client.image_version) == chosen
        assert (await client.runtime.version()).runtime_name == "small"
        assert await client.images.list_images() == []


@pytest.mark.parametrize(
    ("runtime", "images", "service"),
    [((), (), "RuntimeService"), ((), BOTH, "RuntimeService"), (BOTH, (), "ImageService")],
)
async def test_a_service_without_version_ends_the_attempt_with_all_that_was_tried(
    runtimes: Any, runtime: tuple[str, ...], images: tuple[str, ...], service: str
) -> None:
    await runtimes.serve(runtime, images)
    with pytest.raises(EndpointError) as raised:
        await Client.connect(str(runtimes.path))
    text = str(raised.value)
    assert f"no usable {service} on unix://{runtimes.path}" in text
    assert f"runtime.v1.{service}: UNIMPLEMENTED" in text
    assert f"runtime.v1alpha2.{service}: UNIMPLEMENTED" in text


async def test_only_versions_that_may_be_spoken_are_tried(runtimes: Any) -> None:
    await runtimes.serve(("v1alpha2",), ("v1alpha2",))
    with pytest.raises(EndpointError) as raised:
        await Client.connect(str(runtimes.path), versions=("v1",))
    assert "v1alpha2" not in str(raised.value)


async def test_an_older_version_can_be_asked_for_and_the_order_given_means_nothing(runtimes: Any) -> None:
    await runtimes.serve(BOTH, BOTH)
    async with await Client.connect(str(runtimes.path), versions=("v1alpha2",)) as client:
        assert (client.runtime_version, client.image_version) == ("v1alpha2", "v1alpha2")
    async with await Client.connect(str(runtimes.path), versions=("v1alpha2", "v1")) as client:
        assert (client.runtime_version, client.image_version) == ("v1", "v1")


@pytest.mark.parametrize("versions", [(), ("v2",), ("v1", "v1beta1")])
async def test_a_version_that_does_not_exist_is_refused(runtimes: Any, versions: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="v1, v1alpha2"):
        await Client.connect(str(runtimes.path), versions=versions)


async def test_the_older_version_is_spoken_with_a_warning_and_the_newest_without(
    runtimes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await runtimes.serve(("v1",), ("v1alpha2",))
    async with await Client.connect(str(runtimes.path)):
        pass
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "ImageService" in warnings[0] and "v1alpha2" in warnings[0] and "deprecated" in warnings[0]


@pytest.mark.parametrize(
    "error",
    [
        errors.Internal("broken"),
        errors.PermissionDenied("not you"),
        errors.NotFound("what?"),
        errors.Unavailable("later"),
        errors.PodyardError("no idea"),
    ],
    ids=lambda error: error.status,
)
async def test_any_other_error_than_unimplemented_is_the_end(
    runtimes: Any, make_runtime: Callable[..., Any], error: errors.PodyardError
) -> None:
    calls = make_runtime(Version=error)
    await runtimes.serve(BOTH, BOTH, calls=calls)
    with pytest.raises(EndpointError) as raised:
        await Client.connect(str(runtimes.path))
    assert f"runtime.v1.RuntimeService: {error.status}: " in str(raised.value)
    assert str(error) in str(raised.value)
    assert len(calls.asked("Version")) == 1, "the older version must not be tried"


async def test_a_runtime_that_is_starting_is_not_usable_and_its_reason_is_shown(runtimes: Any) -> None:
    runtimes.gate = "it reconciles"
    await runtimes.serve(BOTH, BOTH)
    with pytest.raises(EndpointError, match="it reconciles"):
        await Client.connect(str(runtimes.path))


@pytest.mark.parametrize("field", ["version", "runtime_name", "runtime_version", "runtime_api_version"])
async def test_a_version_answer_with_an_empty_field_is_refused(
    runtimes: Any, make_runtime: Callable[..., Any], field: str
) -> None:
    answer = api.VersionResponse(version="0.1.0", runtime_name="small", runtime_version="1.0", runtime_api_version="v1")
    answer.ClearField(field)  # type: ignore[arg-type]
    await runtimes.serve(calls=make_runtime(Version=answer))
    with pytest.raises(EndpointError, match=f"without {field}"):
        await Client.connect(str(runtimes.path))


async def test_the_exchange_must_be_the_one_that_kubelets_know(runtimes: Any, make_runtime: Callable[..., Any]) -> None:
    answer = api.VersionResponse(version="0.2.0", runtime_name="x", runtime_version="1", runtime_api_version="v1")
    await runtimes.serve(calls=make_runtime(Version=answer))
    with pytest.raises(EndpointError, match=r'without version "0\.1\.0"'):
        await Client.connect(str(runtimes.path))


async def test_images_may_be_served_on_another_endpoint(runtimes: Any, tmp_path: Path) -> None:
    await runtimes.serve(("v1",), ())
    await runtimes.serve((), ("v1alpha2",), path=tmp_path / "images.sock")
    async with await Client.connect(str(runtimes.path), f"unix://{tmp_path}/images.sock") as client:
        assert (client.runtime_version, client.image_version) == ("v1", "v1alpha2")
        assert await client.images.list_images() == []
    with pytest.raises(EndpointError, match=r"no usable ImageService on .*runtime\.sock"):
        await Client.connect(str(runtimes.path))


async def test_a_socket_in_a_directory_with_an_odd_name_is_found(runtimes: Any, tmp_path: Path) -> None:
    path = tmp_path / "a %41#?ü" / "x.sock"
    await runtimes.serve(path=path)
    assert path.is_socket()
    async with await Client.connect(str(path)) as client:
        assert client.runtime_version == "v1"


async def test_an_absent_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"tried runtime\.v1\.RuntimeService: .*no such socket"):
        await Client.connect(str(tmp_path / "x.sock"))


async def test_an_absent_socket_of_the_images_is_told(runtimes: Any, tmp_path: Path) -> None:
    await runtimes.serve()
    with pytest.raises(EndpointError, match=r"no usable ImageService on .*no such socket"):
        await Client.connect(str(runtimes.path), str(tmp_path / "x.sock"))


async def test_a_stale_socket_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
    with pytest.raises(EndpointError, match="nobody listens"):
        await Client.connect(str(tmp_path / "x.sock"))


async def test_a_socket_that_accepts_and_never_answers_ends_within_the_bound(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        with pytest.raises(EndpointError, match=r"did not answer Version within 0\.3 s"):
            await Client.connect(str(tmp_path / "x.sock"), timeout=0.3)


async def test_a_call_that_is_never_answered_ends_within_the_bound(
    runtimes: Any, make_images: Callable[..., Any]
) -> None:
    async def never(_request: Any) -> Any:
        await asyncio.Event().wait()

    await runtimes.serve(image_calls=make_images(ImageFsInfo=never))
    with pytest.raises(EndpointError, match=r"ImageService.*did not answer ImageFsInfo"):
        await Client.connect(str(runtimes.path), timeout=0.3)


def test_the_bound_is_the_kubelets_unless_another_is_asked_for() -> None:
    assert inspect.signature(Client.connect).parameters["timeout"].default == 5.0


async def test_something_else_that_listens_is_no_runtime(tmp_path: Path) -> None:
    async def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(web, tmp_path / "x.sock"):
        with pytest.raises(EndpointError, match="cannot reach"):
            await Client.connect(str(tmp_path / "x.sock"))
