"""Calls that answer with a stream, and lists asked for in that way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from podyard import errors
from podyard.client import Client
from podyard.cri import api


class Streams:
    """A runtime that streams; a call that is not to be there raises AttributeError."""

    def __init__(self, *, lists: bool = True) -> None:
        self.closed = asyncio.Event()
        self.error: Exception | None = None
        self.unary = 0
        if lists:
            self.StreamContainers = self._containers

    async def Version(self, request: api.VersionRequest) -> api.VersionResponse:
        return api.VersionResponse(version="0.1.0", runtime_name="s", runtime_version="1", runtime_api_version="v1")

    async def _containers(self, request: api.StreamContainersRequest) -> AsyncGenerator[Any, None]:
        for part in (("a", "b"), ("c",)):
            yield api.StreamContainersResponse(
                containers=[api.Container(id=f"{request.filter.pod_sandbox_id}{name}") for name in part]
            )
        if self.error is not None:
            raise self.error

    async def ListContainers(self, request: api.ListContainersRequest) -> api.ListContainersResponse:
        self.unary += 1
        return api.ListContainersResponse(containers=[api.Container(id="unary")])

    async def GetContainerEvents(self, request: api.GetEventsRequest) -> AsyncGenerator[Any, None]:
        try:
            yield api.ContainerEventResponse(container_id="1")
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.closed.set()


async def ids(client: Client, **fields: Any) -> list[str]:
    return [container.id for container in await client.runtime.list_containers(api.ContainerFilter(**fields))]


async def test_lists_are_asked_for_in_one_piece_unless_it_is_set_otherwise(runtimes: Any) -> None:
    await runtimes.serve(calls=Streams())
    async with await Client.connect(str(runtimes.path)) as client:
        assert await ids(client) == ["unary"]
    async with await Client.connect(str(runtimes.path), streamed_lists=True) as client:
        assert await ids(client, pod_sandbox_id="s-") == ["s-a", "s-b", "s-c"]


async def test_a_runtime_without_streams_is_asked_once_and_then_in_one_piece(runtimes: Any) -> None:
    calls = Streams(lists=False)
    await runtimes.serve(calls=calls)
    async with await Client.connect(str(runtimes.path), streamed_lists=True) as client:
        assert await ids(client) == ["unary"]
        calls.StreamContainers = calls._containers
        assert await ids(client) == ["unary"]
    assert calls.unary == 2


async def test_a_list_that_breaks_off_is_no_list(runtimes: Any) -> None:
    calls = Streams()
    calls.error = errors.Internal("the disk is gone")
    await runtimes.serve(calls=calls)
    async with await Client.connect(str(runtimes.path), streamed_lists=True) as client:
        with pytest.raises(errors.Internal, match="the disk is gone"):
            await ids(client)


async def test_a_stream_is_hung_up_when_its_reader_has_enough(runtimes: Any) -> None:
    calls = Streams()
    await runtimes.serve(calls=calls)
    opened = []
    async with await Client.connect(str(runtimes.path)) as client:
        async with aclosing(client.runtime.get_container_events(lambda: opened.append(True))) as events:
            assert (await anext(events)).container_id == "1"
        await asyncio.wait_for(calls.closed.wait(), 10)
    assert opened == [True]


async def test_the_runtimes_own_error_ends_a_stream(runtimes: Any) -> None:
    calls = Streams()
    calls.error = errors.ResourceExhausted("too slow")
    await runtimes.serve(calls=calls)
    async with await Client.connect(str(runtimes.path)) as client:
        events = client.runtime.get_container_events()
        await anext(events)
        with pytest.raises(errors.ResourceExhausted, match="too slow"):
            await anext(events)


async def test_a_closed_client_ends_its_streams(runtimes: Any) -> None:
    await runtimes.serve(calls=Streams())
    async with await Client.connect(str(runtimes.path)) as client:
        events = client.runtime.get_container_events()
        await anext(events)
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(errors.Cancelled, match="GetContainerEvents"):
            await waiting
        with pytest.raises(errors.FailedPrecondition, match="was not sent"):
            await anext(client.runtime.get_container_events())


async def test_a_runtime_without_events_says_so(runtimes: Any, make_runtime: Any) -> None:
    await runtimes.serve(calls=make_runtime())
    opened = []
    async with await Client.connect(str(runtimes.path)) as client:
        with pytest.raises(errors.Unimplemented, match="lacks GetContainerEvents"):
            await anext(client.runtime.get_container_events(lambda: opened.append(True)))
    assert opened == []
