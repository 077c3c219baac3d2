"""What a client does when its runtime goes away, comes back, and comes back speaking other versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.support.door import Door

from podyard.client import Client, connection
from podyard.client.endpoints import Endpoint
from podyard.client.errors import from_rpc
from podyard.errors import EndpointError, PodyardError

BOTH = ("v1", "v1alpha2")


def works(client: Client) -> Callable[[], Any]:
    async def ask() -> bool:
        try:
            await client.runtime.version()
            await client.images.list_images()
        except EndpointError:
            return False
        return True

    return ask


def is_lost(call: Callable[[], Any]) -> Callable[[], Any]:
    """Whether a call fails because the version is gone; until the channel has dialled again it fails otherwise."""

    async def ask() -> bool:
        with pytest.raises(EndpointError) as raised:
            await call()
        return "chosen when this client started" in str(raised.value)

    return ask


def test_dialling_again_backs_off_as_a_kubelet_does() -> None:
    options = dict(connection._OPTIONS)
    assert options["grpc.initial_reconnect_backoff_ms"] == 100
    assert options["grpc.max_reconnect_backoff_ms"] == 3000


async def test_calls_fail_while_the_runtime_is_away_and_work_when_it_is_back(runtimes: Any, eventually: Any) -> None:
    await runtimes.serve()
    async with await Client.connect(str(runtimes.path)) as client:
        for _ in range(2):
            await runtimes.stop()
            with pytest.raises(EndpointError, match="no such socket"):
                await client.runtime.list_containers()
            await runtimes.serve()
            await eventually(works(client))


async def test_a_call_during_which_the_runtime_is_restarted_says_so(
    runtimes: Any, make_runtime: Any, eventually: Any, tmp_path: Path
) -> None:
    asked = asyncio.Event()

    async def hang(_request: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    await runtimes.serve(calls=make_runtime(StartContainer=hang))
    door = Door(tmp_path / "door.sock", runtimes.path)
    await door.open()
    try:
        async with await Client.connect(str(door.path)) as client:
            start = asyncio.create_task(client.runtime.start_container("12"))
            await asked.wait()
            await door.cut()
            with pytest.raises(EndpointError, match="was lost during StartContainer, which may be done or not"):
                await start
            await eventually(works(client))
    finally:
        await door.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        # Seen with a server that was killed, and stopped, and was at once back, under calls without end.
        (grpc.StatusCode.UNAVAILABLE, "Stream removed (sendmsg: Broken pipe (32))"),
        (grpc.StatusCode.UNAVAILABLE, "Stream removed (recvmsg:Connection reset by peer (104))"),
        (grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)"),
        (grpc.StatusCode.UNAVAILABLE, "Cancelling all calls"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
)
async def test_what_grpc_says_of_a_lost_connection_is_no_answer_of_the_runtime(
    runtimes: Any, code: grpc.StatusCode, text: str
) -> None:
    await runtimes.serve()
    none = grpc.aio.Metadata()
    received = grpc.aio.AioRpcError(code, none, none, details=text)
    error = from_rpc(received, Endpoint(str(runtimes.path)), "Version", 2)
    assert isinstance(error, EndpointError)
    assert "was lost during Version" in str(error)


@pytest.mark.parametrize(("chosen", "other"), [("v1", "v1alpha2"), ("v1alpha2", "v1")])
async def test_a_runtime_that_comes_back_without_the_chosen_version_gets_no_calls_in_another(
    runtimes: Any, make_runtime: Any, make_images: Any, eventually: Any, chosen: str, other: str
) -> None:
    await runtimes.serve((chosen,), (chosen,))
    async with await Client.connect(str(runtimes.path)) as client:
        await runtimes.stop()
        calls, image_calls = make_runtime(), make_images()
        await runtimes.serve((other,), (other,), calls=calls, image_calls=image_calls)
        await eventually(is_lost(client.runtime.list_containers))
        for call in (client.runtime.version, client.images.list_images, client.images.image_fs_info):
            with pytest.raises(EndpointError) as raised:
                await call()
            assert f"runtime.{chosen}." in str(raised.value)
            assert "Restart the client (of a node: the agent)" in str(raised.value)
        assert (client.runtime_version, client.image_version) == (chosen, chosen)
        assert not calls.requests and not image_calls.requests, "nothing may be asked in another version"

        await runtimes.stop()
        await runtimes.serve(BOTH, BOTH)
        await eventually(works(client))
        assert (client.runtime_version, client.image_version) == (chosen, chosen)
    async with await Client.connect(str(runtimes.path)) as client:
        assert (client.runtime_version, client.image_version) == ("v1", "v1"), "a new client chooses anew"


async def test_a_client_of_the_older_version_stays_with_it_when_the_newer_appears(
    runtimes: Any, eventually: Any
) -> None:
    await runtimes.serve(("v1alpha2",), ("v1alpha2",))
    async with await Client.connect(str(runtimes.path)) as client:
        await runtimes.stop()
        await runtimes.serve(BOTH, BOTH)
        await eventually(works(client))
        assert (client.runtime_version, client.image_version) == ("v1alpha2", "v1alpha2")


async def test_one_service_can_lose_its_version_while_the_other_goes_on(runtimes: Any, eventually: Any) -> None:
    await runtimes.serve(BOTH, BOTH)
    async with await Client.connect(str(runtimes.path)) as client:
        await runtimes.stop()
        await runtimes.serve(BOTH, ("v1alpha2",))
        await eventually(is_lost(client.images.list_images))
        assert await client.runtime.list_containers() == []


async def test_a_runtime_that_says_not_now_is_no_lost_version(runtimes: Any) -> None:
    await runtimes.serve()
    async with await Client.connect(str(runtimes.path)) as client:
        runtimes.gate = "it reconciles"
        with pytest.raises(PodyardError, match="it reconciles") as raised:
            await client.runtime.list_containers()
        assert raised.value.status == "UNAVAILABLE"
        assert not isinstance(raised.value, EndpointError)
        runtimes.gate = ""
        assert await client.runtime.list_containers() == []
