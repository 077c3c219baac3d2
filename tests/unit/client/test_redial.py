"""What a client does when its runtime goes away, comes back, and comes back speaking other versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from podyard.client import Client, connection
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
