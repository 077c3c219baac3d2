"""GetContainerEvents. containerd 1.6 has no such call, so this is podyard's alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.images import Images
from tests.support.pods import WAIT_LIMIT, Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import Unavailable

CREATED = api.CONTAINER_CREATED_EVENT
STARTED = api.CONTAINER_STARTED_EVENT
STOPPED = api.CONTAINER_STOPPED_EVENT
DELETED = api.CONTAINER_DELETED_EVENT


@pytest.fixture
async def kit(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "tests", images.busybox, podyard.name)
        try:
            yield kit
        finally:
            await kit.close()


class Listener:
    """Collects events until it is closed."""

    def __init__(self, client: Client) -> None:
        self.events: list[api.ContainerEventResponse] = []
        self.open = asyncio.Event()
        self._more = asyncio.Event()
        self._client = client
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._client.runtime.get_container_events(self.open.set):
            self.events.append(event)
            self._more.set()

    async def until(self, wanted: tuple[str, int]) -> None:
        """Wait for an event: an id and a type."""
        async with asyncio.timeout(WAIT_LIMIT):
            while wanted not in self.seen():
                self._more.clear()
                await self._more.wait()

    def seen(self, *ids: str) -> list[tuple[str, int]]:
        """Id and type of the events, or of those on some ids."""
        found = [(event.container_id, int(event.container_event_type)) for event in self.events]
        return [event for event in found if not ids or event[0] in ids]


@contextlib.asynccontextmanager
async def listening(client: Client, count: int = 1) -> AsyncIterator[list[Listener]]:
    listeners = [Listener(client) for _ in range(count)]
    try:
        async with asyncio.timeout(WAIT_LIMIT):
            for listener in listeners:
                await listener.open.wait()
        yield listeners
    finally:
        for listener in listeners:
            listener.task.cancel()
        await asyncio.gather(*(listener.task for listener in listeners), return_exceptions=True)


async def test_every_subscriber_is_told_of_a_whole_life_in_order(kit: Kit) -> None:
    runtime = kit.client.runtime
    async with listening(kit.client, 3) as listeners:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sleep", "1000"])
        await runtime.stop_container(container_id, 0)
        await runtime.remove_container(container_id)
        await runtime.stop_pod_sandbox(sandbox_id)
        await runtime.remove_pod_sandbox(sandbox_id)
        for listener in listeners:
            await listener.until((sandbox_id, DELETED))
            assert listener.seen(sandbox_id, container_id) == [
                (sandbox_id, CREATED),
                (sandbox_id, STARTED),
                (container_id, CREATED),
                (container_id, STARTED),
                (container_id, STOPPED),
                (container_id, DELETED),
                (sandbox_id, STOPPED),
                (sandbox_id, DELETED),
            ]


async def test_an_event_brings_the_statuses_of_its_moment(kit: Kit) -> None:
    async with listening(kit.client) as [listener]:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sh", "-c", "exit 3"])
        await listener.until((container_id, STOPPED))
        found = {int(e.container_event_type): e for e in listener.events if e.container_id == container_id}
        states = [[status.state for status in found[kind].containers_statuses] for kind in (CREATED, STARTED, STOPPED)]
        assert states == [[api.CONTAINER_CREATED], [api.CONTAINER_RUNNING], [api.CONTAINER_EXITED]]
        (status,) = found[STOPPED].containers_statuses
        assert status == await kit.status(container_id)
        sandbox = (await kit.client.runtime.pod_sandbox_status(sandbox_id)).status
        assert found[STOPPED].pod_sandbox_status == sandbox
        assert found[STOPPED].created_at >= status.finished_at


async def test_the_shortest_process_is_started_before_it_stops(kit: Kit) -> None:
    async with listening(kit.client) as [listener]:
        sandbox_id = await kit.sandbox()
        container_ids = await asyncio.gather(*(kit.start(sandbox_id, ["true"]) for _ in range(10)))
        for container_id in container_ids:
            await listener.until((container_id, STOPPED))
            assert listener.seen(container_id) == [(container_id, kind) for kind in (CREATED, STARTED, STOPPED)]


async def test_streams_end_when_podyard_stops(tmp_path: Any, images: Images) -> None:
    server = Podyard(tmp_path / "own")
    server.folder.mkdir()
    await asyncio.to_thread(server.start)
    try:
        async with await Client.connect(server.endpoint) as client, listening(client) as [listener]:
            assert await asyncio.to_thread(server.terminate) == 0
            with pytest.raises(Unavailable):
                await listener.task
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.reset)
