"""GetContainerEvents: what happens to sandboxes and containers, told to everybody who subscribes.

Events are made where records change (runtime/store.py), so their order is that of the records. A subscriber that reads
too slowly holds nobody up and loses nothing unawares: its stream ends with an error that says so.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator

from podyard.cri import api
from podyard.errors import PodyardError, ResourceExhausted, Unavailable
from podyard.runtime import messages
from podyard.runtime.store import Change, SandboxChange, Store, statuses_of

BUFFER_COUNT = 1000
BUFFER_SIZE = 16 << 20
"""Events, and bytes of them, that wait for one subscriber at most."""


class Subscriber:
    """One stream: the events that it has not read yet, and why there will be no more."""

    def __init__(self) -> None:
        self._events: deque[api.ContainerEventResponse] = deque()
        self._size = 0
        self._end: PodyardError | None = None
        self._something = asyncio.Event()

    def add(self, event: api.ContainerEventResponse) -> None:
        """Let it read an event. One too many ends its stream, after those that it was given before."""
        if self._end is not None:
            return
        if len(self._events) >= BUFFER_COUNT or self._size + event.ByteSize() > BUFFER_SIZE:
            self.end(
                ResourceExhausted(
                    f"{len(self._events)} events wait to be read and there is no room for more; later ones are not "
                    "sent: list all sandboxes and containers, and subscribe again"
                )
            )
            return
        self._events.append(event)
        self._size += event.ByteSize()
        self._something.set()

    def end(self, why: PodyardError) -> None:
        """End its stream with an error, once it has read what it was given."""
        self._end = self._end or why
        self._something.set()

    async def events(self) -> AsyncGenerator[api.ContainerEventResponse, None]:
        """The events, as they come. Raises what ``end`` was told."""
        while True:
            await self._something.wait()
            while self._events:
                event = self._events.popleft()
                self._size -= event.ByteSize()
                yield event
            if self._end is not None:
                raise self._end
            self._something.clear()


class Events:
    """All subscribers, and what they are told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Weak: a stream whose client goes away before it is read is never closed, it is only dropped.
        self._subscribers: weakref.WeakSet[Subscriber] = weakref.WeakSet()
        self._last = 0
        self._end: PodyardError | None = None
        store.observers.append(self._changed)

    def subscribe(self) -> AsyncGenerator[api.ContainerEventResponse, None]:
        """All events from now on, until the generator is closed.

        It raises ResourceExhausted when its reader was too slow, Unavailable when podyard stops.
        """
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        if self._end is not None:
            subscriber.end(self._end)
        return self._read(subscriber)

    def close(self) -> None:
        """End all streams, later ones at once: podyard stops."""
        self._end = Unavailable("podyard is stopping: subscribe again once it runs")
        for subscriber in self._subscribers:
            subscriber.end(self._end)

    async def _read(self, subscriber: Subscriber) -> AsyncGenerator[api.ContainerEventResponse, None]:
        try:
            async for event in subscriber.events():
                yield event
        finally:
            self._subscribers.discard(subscriber)

    def _changed(self, change: Change) -> None:
        if not self._subscribers:
            return
        for kind in happened(change):
            event = self._event(change, kind)
            for subscriber in self._subscribers:
                subscriber.add(event)

    def _event(self, change: Change, kind: api.ContainerEventType.ValueType) -> api.ContainerEventResponse:
        if isinstance(change, SandboxChange):
            sandbox = change.entry
        else:
            sandbox = self._store.sandboxes[change.entry.record.sandbox_id]
        # Clients order statuses by this time, so it never goes back, whatever the clock does.
        self._last = max(self._last + 1, time.time_ns())
        event = api.ContainerEventResponse(
            container_id=change.entry.record.id, container_event_type=kind, created_at=self._last
        )
        statuses = statuses_of(self._store, sandbox.record.id)
        # Where they are too many, not even the sandbox is told of: a kubelet would take it for one without containers.
        if statuses is not None:
            event.pod_sandbox_status.CopyFrom(messages.sandbox_status(sandbox.record, sandbox.config))
            event.containers_statuses.extend(statuses)
        return event


def happened(change: Change) -> list[api.ContainerEventType.ValueType]:
    """What the change of a record is to subscribers: one event, two or none.

    A sandbox is recorded once it runs, so it is created and started in one. A container whose process could not be
    started has stopped without having been started.
    """
    if isinstance(change, SandboxChange):
        if change.before is None:
            return [api.CONTAINER_CREATED_EVENT, api.CONTAINER_STARTED_EVENT]
        if change.after is None:
            return [api.CONTAINER_DELETED_EVENT]
        return [api.CONTAINER_STOPPED_EVENT] if change.before.ready and not change.after.ready else []
    if change.before is None:
        return [api.CONTAINER_CREATED_EVENT]
    if change.after is None:
        return [api.CONTAINER_DELETED_EVENT]
    started = change.after.started_at and not change.before.started_at
    stopped = change.after.state == "exited" and change.before.state != "exited"
    return [api.CONTAINER_STARTED_EVENT] * bool(started) + [api.CONTAINER_STOPPED_EVENT] * stopped
