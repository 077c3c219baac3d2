"""Events reach the API server, counted, and hold nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.kube import ApiServer

from podyard.node.cluster import events as module
from podyard.node.cluster.events import About, Events, News
from podyard.node.kube import Access, KubeClient

PULLED = News(about=About(kind="Pod", namespace="default", name="web", uid="u"), reason="Pulled", message="it is here")


def found(server: ApiServer, namespace: str = "default") -> list[dict[str, Any]]:
    """The server's Events, in the order in which they were made."""
    return [one for key, one in server.store.objects.items() if key[:2] == ("events", namespace)]


def of_pod(server: ApiServer, name: str) -> dict[str, int]:
    """How often each reason was told of a Pod, or of the node."""
    mine = [one for one in found(server) if one["involvedObject"]["name"] == name]
    return {one["reason"]: sum(other["count"] for other in mine if other["reason"] == one["reason"]) for one in mine}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def events(server: ApiServer, clock: Clock) -> AsyncIterator[Events]:
    """Those of the node n, which nobody sends yet."""
    async with KubeClient(Access(server=server.url), timeout=5) as kube:
        events = Events(kube, "n", clock=clock)
        yield events


@pytest.fixture
async def sending(events: Events) -> AsyncIterator[Events]:
    """They are sent."""
    running = asyncio.create_task(events.run())
    yield events
    running.cancel()
    await asyncio.wait([running])


async def test_an_event_and_the_same_again(server: ApiServer, sending: Events, clock: Clock, until: Any) -> None:
    sending.tell(PULLED)
    await until(lambda: found(server))
    (made,) = found(server)
    involved = {"kind": "Pod", "apiVersion": "v1", "namespace": "default", "name": "web", "uid": "u"}
    assert (made["involvedObject"], made["type"], made["count"]) == (involved, "Normal", 1)
    assert (made["source"], made["firstTimestamp"]) == ({"component": "kubelet", "host": "n"}, "1970-01-01T00:16:40Z")
    clock.now += 60
    sending.tell(PULLED)
    await until(lambda: found(server)[0]["count"] == 2)
    (counted,) = found(server)
    assert (counted["firstTimestamp"], counted["lastTimestamp"]) == ("1970-01-01T00:16:40Z", "1970-01-01T00:17:40Z")
    # The server forgets events after a while.
    server.store.remove(("events", "default", counted["metadata"]["name"]))
    sending.tell(PULLED)
    await until(lambda: found(server))
    assert [one["count"] for one in found(server)] == [3]


async def test_an_event_of_a_node_is_in_the_default_namespace(server: ApiServer, sending: Events, until: Any) -> None:
    sending.tell(News(about=About(kind="Node", name="n", uid="n"), reason="NodeReady", message="x" * 5000))
    await until(lambda: found(server))
    (made,) = found(server)
    assert ("namespace" in made["involvedObject"], len(made["message"])) == (False, 1024)


async def test_while_the_server_is_away_events_wait_and_count(server: ApiServer, events: Events, until: Any) -> None:
    server.refuse("POST events", 503, "ServiceUnavailable", times=2)
    events.tell(PULLED)
    events.tell(replace(PULLED, reason="Created"))
    events.tell(PULLED)
    running = asyncio.create_task(events.run())
    await until(lambda: len(found(server)) == 2)
    running.cancel()
    await asyncio.wait([running])
    assert [(one["reason"], one["count"]) for one in found(server)] == [("Pulled", 2), ("Created", 1)]


async def test_what_is_refused_is_dropped_and_the_next_is_sent(
    server: ApiServer, sending: Events, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = replace(PULLED, about=replace(PULLED.about, namespace="none"))
    sending.tell(nowhere)
    sending.tell(PULLED)
    await until(lambda: found(server))
    assert (
        "an event of Pod web is dropped: POST /api/v1/namespaces/none/events: the API server answers 404" in caplog.text
    )


async def test_only_so_many_wait(
    server: ApiServer, events: Events, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    for number in range(4):
        events.tell(replace(PULLED, message=f"{number}"))
    running = asyncio.create_task(events.run())
    await until(lambda: len(found(server)) == 2)
    running.cancel()
    await asyncio.wait([running])
    assert [one["message"] for one in found(server)] == ["2", "3"]


async def test_one_object_cannot_flood_the_server(server: ApiServer, events: Events, clock: Clock, until: Any) -> None:
    for number in range(module.BURST + 5):
        events.tell(replace(PULLED, message=f"{number}"))
    other = replace(PULLED, about=replace(PULLED.about, name="other", uid="v"))
    events.tell(other)
    clock.now += module.REFILL
    events.tell(replace(PULLED, message="later"))
    events.tell(replace(PULLED, message="one too many"))
    running = asyncio.create_task(events.run())
    await until(lambda: found(server) and found(server)[-1]["message"] == "later")
    running.cancel()
    await asyncio.wait([running])
    assert of_pod(server, "web") == {"Pulled": module.BURST + 1}
    assert of_pod(server, "other") == {"Pulled": 1}


async def test_a_pods_life_is_told(server: ApiServer, runtime: Any, nodes: Any, bind: Any, until: Any) -> None:
    runtime.exits["main"] = [1]
    runtime.images.clear()
    bind("web")
    bind("bad", nodeSelector={"disk": "none"})
    nodes.start()
    life = {"Pulling": 1, "Pulled": 2, "Created": 2, "Started": 2}
    await until(lambda: of_pod(server, "web") == life)
    await until(lambda: of_pod(server, "bad") == {"NodeAffinity": 1})
    (started,) = [one for one in found(server) if one["reason"] == "Started"]
    assert started["involvedObject"]["fieldPath"] == "spec.containers{main}"
    server.delete("pods", "web", "default", grace=1)
    await until(lambda: of_pod(server, "web") == {**life, "Killing": 1})
    await until(lambda: {"Starting", "NodeReady"} <= of_pod(server, "n").keys())
