"""Events out of changing records."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import ResourceExhausted, Unavailable
from podyard.model.records import Container, Sandbox
from podyard.runtime import events as module
from podyard.runtime.events import Events
from podyard.runtime.store import Store
from podyard.state.database import Database
from podyard.state.records import Records

SANDBOX = Sandbox(
    id="s",
    config=api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name="pod", uid="u")).SerializeToString(),
    handler="",
    runtime="crun",
    created_at=1,
    boot_id="b",
)
CONTAINER = Container(
    id="c",
    sandbox_id="s",
    config=api.ContainerConfig(metadata=api.ContainerMetadata(name="main")).SerializeToString(),
    runtime="crun",
    image_id="i",
    image_ref="r",
    created_at=2,
    boot_id="b",
    stop_signal="SIGTERM",
)
RUNNING = replace(CONTAINER, state="running", started_at=3)
EXITED = replace(RUNNING, state="exited", finished_at=4)

Stream = AsyncGenerator[api.ContainerEventResponse, None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = Database(tmp_path / "state.db")
    yield Store(Records(database))
    database.close()


@pytest.fixture
def events(store: Store) -> Events:
    return Events(store)


async def take(stream: Stream, count: int) -> list[api.ContainerEventResponse]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


def told(found: list[api.ContainerEventResponse]) -> list[tuple[str, str]]:
    names = [api.ContainerEventType.Name(event.container_event_type) for event in found]
    return [(event.container_id, name.split("_")[1].lower()) for event, name in zip(found, names, strict=True)]


async def test_a_life_is_told_in_order_with_the_statuses_of_each_moment(store: Store, events: Events) -> None:
    stream = events.subscribe()
    store.save_sandbox(SANDBOX)
    for record in (CONTAINER, RUNNING, EXITED):
        store.save_container(record)
    store.save_sandbox(replace(SANDBOX, ready=False))
    store.delete_container("c")
    store.delete_sandbox("s")
    found = await take(stream, 8)
    assert told(found) == [
        ("s", "created"),
        ("s", "started"),
        ("c", "created"),
        ("c", "started"),
        ("c", "stopped"),
        ("s", "stopped"),
        ("c", "deleted"),
        ("s", "deleted"),
    ]
    states = [[status.state for status in event.containers_statuses] for event in found]
    created, running, exited = api.CONTAINER_CREATED, api.CONTAINER_RUNNING, api.CONTAINER_EXITED
    assert states == [[], [], [created], [running], [exited], [exited], [], []]
    assert [event.pod_sandbox_status.state for event in found[4:6]] == [api.SANDBOX_READY, api.SANDBOX_NOTREADY]
    assert {event.pod_sandbox_status.metadata.uid for event in found} == {"u"}
    times = [event.created_at for event in found]
    assert times == sorted(set(times))


async def test_every_subscriber_gets_what_happens_from_its_subscription_on(store: Store, events: Events) -> None:
    first = events.subscribe()
    store.save_sandbox(SANDBOX)
    second = events.subscribe()
    store.save_container(CONTAINER)
    assert told(await take(first, 3)) == [("s", "created"), ("s", "started"), ("c", "created")]
    assert told(await take(second, 1)) == [("c", "created")]


async def test_an_event_whose_statuses_no_client_would_take_is_told_without_them(store: Store, events: Events) -> None:
    store.save_sandbox(SANDBOX)
    config = api.ContainerConfig(metadata=api.ContainerMetadata(name="main"), annotations={"long": "x" * (6 << 20)})
    for number in range(3):
        config.metadata.attempt = number
        stream = events.subscribe()
        store.save_container(replace(CONTAINER, id=f"c{number}", config=config.SerializeToString()))
        [event] = await take(stream, 1)
        assert told([event]) == [(f"c{number}", "created")]
        # A status without its containers would be taken for the whole truth.
        assert event.HasField("pod_sandbox_status") == bool(event.containers_statuses) == (number == 0)


async def test_changes_that_are_no_events_are_not_told(store: Store, events: Events) -> None:
    store.save_sandbox(SANDBOX)
    store.save_container(RUNNING)
    stream = events.subscribe()
    store.save_sandbox(replace(SANDBOX, ips=("10.0.0.1",)))
    store.save_container(replace(RUNNING, message="x"))
    store.save_container(EXITED)
    assert told(await take(stream, 1)) == [("c", "stopped")]


async def test_a_container_that_could_not_be_started_has_stopped_only(store: Store, events: Events) -> None:
    store.save_sandbox(SANDBOX)
    store.save_container(CONTAINER)
    stream = events.subscribe()
    store.save_container(replace(CONTAINER, state="exited", finished_at=4, reason="StartError"))
    store.delete_container("c")
    assert told(await take(stream, 2)) == [("c", "stopped"), ("c", "deleted")]


@pytest.mark.parametrize(("limit", "value"), [("BUFFER_COUNT", 5), ("BUFFER_SIZE", 600)])
async def test_a_slow_subscriber_gets_what_fits_and_then_an_error_while_others_get_all(
    store: Store, events: Events, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    store.save_sandbox(SANDBOX)
    slow, quick = events.subscribe(), events.subscribe()
    monkeypatch.setattr(module, limit, value)
    for number in range(100):
        store.save_container(replace(CONTAINER, id=f"{number:03d}"))
        assert told(await take(quick, 1)) == [(f"{number:03d}", "created")]
        store.delete_container(f"{number:03d}")
        assert told(await take(quick, 1)) == [(f"{number:03d}", "deleted")]
    found = []
    with pytest.raises(ResourceExhausted, match="subscribe again"):
        async for event in slow:
            found.append(event)
    expected = [(f"{number:03d}", kind) for number in range(100) for kind in ("created", "deleted")]
    assert 0 < len(found) < 20
    assert told(found) == expected[: len(found)]


async def test_streams_end_when_podyard_stops(store: Store, events: Events) -> None:
    stream = events.subscribe()
    store.save_sandbox(SANDBOX)
    waiting = asyncio.create_task(take(stream, 3))
    await asyncio.sleep(0)
    events.close()
    with pytest.raises(Unavailable, match="stopping"):
        await waiting
    with pytest.raises(Unavailable, match="stopping"):
        await take(events.subscribe(), 1)


async def test_a_stream_that_was_dropped_before_it_was_read_costs_nothing(
    store: Store, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = events.subscribe()
    await stream.aclose()
    del stream
    gc.collect()
    monkeypatch.setattr(events, "_event", None)  # any event that is made fails
    store.save_sandbox(SANDBOX)


async def test_an_end_that_comes_during_the_start_is_recorded_after_it(store: Store) -> None:
    store.save_sandbox(SANDBOX)
    entry = store.save_container(CONTAINER)
    order = []
    with entry.starting():
        entry.unless_starting(lambda: order.append("end"))
        order.append("start")
    entry.unless_starting(lambda: order.append("later"))
    assert order == ["start", "end", "later"]
