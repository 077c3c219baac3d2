"""GetContainerEvents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from podyard.cri import api
from podyard.errors import Unimplemented
from podyard.validate.case import case
from podyard.validate.expect import equal, holds
from podyard.validate.kit import Kit, until

NEEDS = "the call GetContainerEvents"
PATIENCE = 10.0
"""Seconds until an event must be there."""

CREATED = api.CONTAINER_CREATED_EVENT
STARTED = api.CONTAINER_STARTED_EVENT
STOPPED = api.CONTAINER_STOPPED_EVENT
DELETED = api.CONTAINER_DELETED_EVENT


class Events:
    """What a subscriber has received so far."""

    def __init__(self) -> None:
        self.received: list[api.ContainerEventResponse] = []
        self.opened = asyncio.Event()

    def of(self, subject: str) -> list[api.ContainerEventResponse]:
        """Those on one container or sandbox, in order."""
        return [event for event in self.received if event.container_id == subject]

    def kinds(self, subject: str) -> list[api.ContainerEventType.ValueType]:
        """What happened to it."""
        return [event.container_event_type for event in self.of(subject)]

    async def until(self, holds_now: Callable[[], bool], what: str) -> None:
        """Wait until the events satisfy a condition. Raises Unmet."""
        await until(holds_now, what, self._told, PATIENCE)

    def _told(self) -> str:
        return ", ".join(
            f"{api.ContainerEventType.Name(event.container_event_type)} of {event.container_id[:12]}"
            for event in self.received
        )


@contextlib.asynccontextmanager
async def _subscribed(kit: Kit) -> AsyncIterator[Events]:
    """A subscriber for as long as the context is open. Raises what the stream raises."""
    events = Events()

    async def follow() -> None:
        stream = kit.runtime.get_container_events(on_open=events.opened.set)
        async with contextlib.aclosing(stream):
            async for event in stream:
                events.received.append(event)

    reader = asyncio.create_task(follow())
    opened = asyncio.create_task(events.opened.wait())
    try:
        await asyncio.wait({reader, opened}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        if reader.done():
            await reader
        yield events
    finally:
        opened.cancel()
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Unimplemented):
            await reader


@case("events", "a container's life is told in order", needs=NEEDS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    async with _subscribed(kit) as events:
        container_id = await kit.start(["true"], sandbox_id)
        await kit.ended(container_id)
        await kit.runtime.remove_container(container_id)
        await events.until(lambda: DELETED in events.kinds(container_id), "the event of its removal")
    equal(events.kinds(container_id), [CREATED, STARTED, STOPPED, DELETED], "events")
    times = [event.created_at for event in events.of(container_id)]
    equal(times, sorted(times), "times in order")
    holds(all(times), "times above 0", times)


@case("events", "a sandbox's life is told, too", needs=NEEDS)
async def _(kit: Kit) -> None:
    async with _subscribed(kit) as events:
        sandbox_id = await kit.sandbox()
        await kit.runtime.stop_pod_sandbox(sandbox_id)
        await kit.runtime.remove_pod_sandbox(sandbox_id)
        await events.until(lambda: DELETED in events.kinds(sandbox_id), "the event of its removal")
    kinds = events.kinds(sandbox_id)
    equal([kind for kind in kinds if kind in {STARTED, STOPPED, DELETED}], [STARTED, STOPPED, DELETED], "events")


@case("events", "an event has the sandbox and its containers as they were then", needs=NEEDS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    async with _subscribed(kit) as events:
        container_id = await kit.start(["sh", "-c", "exit 4"], sandbox_id)
        await events.until(lambda: STOPPED in events.kinds(container_id), "the event of its end")
    found = [event for event in events.of(container_id) if event.container_event_type == STOPPED]
    equal(len(found), 1, "events of its end")
    event = found[0]
    equal(event.pod_sandbox_status.id, sandbox_id, "id of the sandbox")
    equal(event.pod_sandbox_status.state, api.SANDBOX_READY, "state of the sandbox")
    told = [(entry.state, entry.exit_code) for entry in event.containers_statuses if entry.id == container_id]
    equal(told, [(api.CONTAINER_EXITED, 4)], "state and exit code of the container")


@case("events", "every subscriber gets every event", needs=NEEDS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    async with _subscribed(kit) as one, _subscribed(kit) as two:
        container_id = await kit.start(["true"], sandbox_id)
        for events in (one, two):
            await events.until(lambda events=events: STOPPED in events.kinds(container_id), "its end")  # type: ignore[misc]
        equal(one.kinds(container_id), two.kinds(container_id), "events of both")


@case("events", "twenty containers at once: none is missed", needs=NEEDS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    async with _subscribed(kit) as events:
        made = await asyncio.gather(*(kit.start(["true"], sandbox_id) for _ in range(20)))
        await events.until(lambda: all(STOPPED in events.kinds(entry) for entry in made), "the end of all")
    equal({tuple(events.kinds(entry)) for entry in made}, {(CREATED, STARTED, STOPPED)}, "events of each")


@case("events", "a subscriber that leaves does not disturb the next", needs=NEEDS)
async def _(kit: Kit) -> None:
    async with _subscribed(kit):
        pass
    async with _subscribed(kit) as events:
        container_id = await kit.create(["true"])
        await events.until(lambda: CREATED in events.kinds(container_id), "the event of its making")
