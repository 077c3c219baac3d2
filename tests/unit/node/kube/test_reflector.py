"""A copy of a collection stays like the server's, whatever happens to its watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.kube import ApiServer

from podyard.node.kube import KubeClient, Reflector, Waits
from podyard.node.kube.answers import Throttled

SPEC: dict[str, Any] = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}


@pytest.fixture
async def copied(server: ApiServer, kube: KubeClient) -> AsyncIterator[Reflector]:
    """The Pods of the node n."""
    params = {"fieldSelector": "spec.nodeName=n"}
    waits = Waits(first=0.01, longest=0.05)
    reflector = Reflector(kube, "/api/v1/pods", params=params, on_change=lambda: None, waits=waits)
    task = asyncio.create_task(reflector.run())
    yield reflector
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled(), task.exception()


async def test_changes_are_followed(server: ApiServer, copied: Reflector, until: Any) -> None:
    assert not copied.synced
    server.add("pods", "other", "default", spec={**SPEC, "nodeName": "m"})
    await until(lambda: copied.synced)
    server.add("pods", "web", "default", spec=SPEC)
    await until(lambda: list(copied.objects) == ["default/web"])
    server.edit("pods", "web", "default", metadata={"labels": {"a": "b"}})
    await until(lambda: copied.objects["default/web"]["metadata"].get("labels") == {"a": "b"})
    server.delete("pods", "web", "default", grace=0)
    await until(lambda: not copied.objects)
    assert server.requests["LIST pods"] == 1


async def test_a_watch_that_is_cut_goes_on_where_it_was(server: ApiServer, copied: Reflector, until: Any) -> None:
    await until(lambda: server.requests["WATCH pods"])
    server.cut()
    server.add("pods", "web", "default", spec=SPEC)
    await until(lambda: list(copied.objects) == ["default/web"])
    assert server.requests["LIST pods"] == 1


async def test_bookmarks_spare_a_new_list(server: ApiServer, copied: Reflector, until: Any) -> None:
    server.bookmarks = 0.01
    await until(lambda: server.requests["WATCH pods"])
    server.add("configmaps", "noise", "default")
    # The watch itself had no event; by a bookmark it knows a version that the server still remembers.
    await until(lambda: copied._version == str(server.store.version))
    server.store.compact()
    server.cut()
    await until(lambda: server.requests["WATCH pods"] > 1)
    server.add("pods", "web", "default", spec=SPEC)
    await until(lambda: list(copied.objects) == ["default/web"])
    assert server.requests["LIST pods"] == 1


@pytest.mark.parametrize("told", ["in the stream", "as the answer"])
async def test_what_the_server_forgot_is_listed_anew(
    server: ApiServer, copied: Reflector, until: Any, told: str
) -> None:
    server.bookmarks = 60
    server.add("pods", "gone", "default", spec=SPEC)
    await until(lambda: "default/gone" in copied.objects and server.requests["WATCH pods"])
    if told == "as the answer":
        server.refuse("WATCH pods", 410, "Expired")
    server.cut()
    server.delete("pods", "gone", "default", grace=0)
    server.add("pods", "web", "default", spec=SPEC)
    if told == "in the stream":
        server.store.compact()
    await until(lambda: list(copied.objects) == ["default/web"])
    assert server.requests["LIST pods"] == 2


async def test_a_server_that_is_away_is_waited_for_and_told_once(
    kube: KubeClient, copied: Reflector, server: ApiServer, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.add("pods", "web", "default", spec=SPEC)
    await until(lambda: "default/web" in copied.objects)
    server.refuse("WATCH pods", 500, "InternalError", times=5)
    server.cut()
    await until(lambda: not server.faults)
    server.delete("pods", "web", "default", grace=0)
    await until(lambda: not copied.objects)
    assert caplog.text.count("injected InternalError") == 1


async def test_a_list_that_expires_on_the_way_begins_anew(server: ApiServer, copied: Reflector, until: Any) -> None:
    server.refuse("LIST pods", 410, "Expired", times=3)
    await until(lambda: copied.synced)
    assert server.requests["LIST pods"] == 4


def test_waits_grow_and_begin_anew() -> None:
    waits = Waits(first=1.0, longest=8.0)
    found = [waits.next() for _ in range(6)]
    assert all(low <= wait <= 2 * low for low, wait in zip([0.5, 1, 2, 4, 4, 4], found, strict=True))
    waits.reset()
    assert waits.next() <= 1.0
    assert 60 <= waits.next(Throttled("later", 60)) <= 72
    assert waits.next(Throttled("much later", 10**6)) <= 360
