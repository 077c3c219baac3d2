"""What pulls have done, as metrics and in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web
from tests.support.faulty import Proxy, cut
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import NotFound, RegistryUnavailable
from podyard.images.layout import LayoutWriter
from podyard.images.metrics import metrics
from podyard.images.store import ImageStore


def values(store: ImageStore) -> dict[str, float]:
    """Every metric by its name and the values of its labels."""
    names = [".".join([metric.name, *(value for _, value in metric.labels)]) for metric in metrics(store)]
    assert len(set(names)) == len(names)
    return dict(zip(names, (metric.value for metric in metrics(store)), strict=True))


async def test_pulls_are_counted_by_how_they_end(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, layout: LayoutWriter
) -> None:
    store = await make_store(attempts=1, parts_age=3600.0)
    name = f"{proxy.address}/{pushed.repository}:1"
    with pytest.raises(NotFound):
        await store.pull(f"{proxy.address}/{pushed.repository}:none")
    proxy.fault(pushed.layers[1], cut(100_000))
    with pytest.raises(RegistryUnavailable):
        await store.pull(name)
    await store.pull(name)
    await store.pull(name)
    found = values(store)
    results = {key.rpartition(".")[2]: value for key, value in found.items() if "pulls_total" in key}
    assert results == {"NOT_FOUND": 1, RegistryUnavailable.status: 1, "OK": 2}
    # What a failed pull has left is not fetched again.
    sizes = [layout.path(digest).stat().st_size for digest in pushed.layers]
    assert found["podyard_image_fetched_bytes_total"] == sum(sizes)
    assert found["podyard_image_layers_unpacked_total"] == 2
    assert found["podyard_image_pull_seconds_total"] > 0
    assert (found["podyard_images"], found["podyard_image_layers"], found["podyard_image_pulls"]) == (1, 2, 0)
    assert found["podyard_image_store_bytes"] == store.usage().size


async def test_a_pull_in_flight_is_told_in_metrics_and_log(
    proxy: Proxy,
    pushed: Pushed,
    store: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("podyard.images.counts.LOG_INTERVAL", 0.01)
    caplog.set_level(logging.INFO, "podyard.images.counts")
    reached, go = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request, answer: web.Response) -> web.StreamResponse:
        reached.set()
        await go.wait()
        return answer

    proxy.fault(pushed.layers[1], wait)
    name = f"{proxy.address}/{pushed.repository}:1"
    pull = asyncio.create_task(store.pull(name))
    await reached.wait()
    while values(store)[f"podyard_image_pull_bytes.{name}.fetched"] == 0:
        await asyncio.sleep(0.01)
    found = values(store)
    assert found["podyard_image_pulls"] == 1
    assert 0 < found[f"podyard_image_pull_bytes.{name}.fetched"] < found[f"podyard_image_pull_bytes.{name}.all"]
    while "fetching and unpacking layers: " not in "".join(caplog.messages):
        await asyncio.sleep(0.01)
    go.set()
    await pull
    assert caplog.messages[0].startswith(f"pulling {name} for ")
    assert caplog.messages[-1].startswith(f"pulled {name} in ")
    assert caplog.messages[-1].endswith("2 of 2 layers are here, 0.6 of 0.6 MB are fetched")
    assert f"podyard_image_pull_bytes.{name}.all" not in values(store)
