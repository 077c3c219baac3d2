"""How the layers of an image are shared out among workers."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.support import registry
from tests.support.faulty import Proxy, status
from tests.unit.images.conftest import left

from podyard.errors import PodyardError
from podyard.images.install import SMALL, SMALL_LIMIT
from podyard.images.layout import LayoutWriter, WrittenLayer, file
from podyard.images.store import ImageStore
from podyard.images.unpack import Workers

pytestmark = pytest.mark.host


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What workers were started with."""
    requests: list[Any] = []
    start = Workers.start

    async def note(workers: Workers, program: str, request: Any) -> Any:
        requests.append(request)
        return await start(workers, program, request)

    monkeypatch.setattr(Workers, "start", note)
    return requests


def small(layout: LayoutWriter, number: int) -> WrittenLayer:
    return layout.add_layer({f"s{number}": file(f"{number}")})


def large(layout: LayoutWriter, number: int) -> WrittenLayer:
    return layout.add_layer({f"l{number}": file(random.Random(number).randbytes(2 * SMALL))})


def push(upstream: str, layout: LayoutWriter, layers: list[WrittenLayer], repository: str) -> str:
    registry.push(upstream, layout, layout.add_image(layers), repository, "1")
    return f"{repository}:1"


async def at_rest(store: ImageStore) -> None:
    """No worker is left over from a pull."""
    nursery = store._snapshots.workers._nursery
    while nursery is not None and nursery.workers:
        await asyncio.sleep(0.01)


async def test_small_layers_that_follow_each_other_have_one_worker(
    upstream: str, layout: LayoutWriter, store: ImageStore, started: list[Any]
) -> None:
    kinds = (small, small, large, large, small, small)
    layers = [kind(layout, number) for number, kind in enumerate(kinds)]
    image = await store.pull(f"{upstream}/{push(upstream, layout, layers, 'install/mixed')}")
    await at_rest(store)
    assert sorted(len(request["further"]) for request in started) == [0, 0, 1, 1]
    names = [path.name for folder in store.lower_dirs(image) for path in folder.iterdir()]
    assert names == ["s5", "s4", "l3", "l2", "s1", "s0"]
    assert len(list((store.folder / "l").iterdir())) == 1 + len(layers)


async def test_many_small_layers_have_few_workers(
    upstream: str, layout: LayoutWriter, store: ImageStore, started: list[Any]
) -> None:
    layers = [small(layout, number) for number in range(SMALL_LIMIT + 3)]
    image = await store.pull(f"{upstream}/{push(upstream, layout, layers, 'install/many')}")
    await at_rest(store)
    assert len(started) == 2
    assert [len(list(folder.iterdir())) for folder in store.lower_dirs(image)] == [1] * len(layers)
    assert len(list((store.folder / "l").iterdir())) == 1 + len(layers)


async def test_layers_that_are_here_are_built_upon(
    upstream: str, layout: LayoutWriter, store: ImageStore, started: list[Any]
) -> None:
    layers = [small(layout, number) for number in range(4)]
    await store.pull(f"{upstream}/{push(upstream, layout, layers[:2], 'install/below')}")
    image = await store.pull(f"{upstream}/{push(upstream, layout, layers, 'install/above')}")
    await at_rest(store)
    assert [len(request["lower"]) for request in started] == [0, 2]
    assert [path.name for folder in store.lower_dirs(image) for path in folder.iterdir()] == ["s3", "s2", "s1", "s0"]


async def test_a_layer_that_does_not_come_leaves_no_worker_and_no_directory(
    upstream: str, layout: LayoutWriter, store: ImageStore, proxy: Proxy
) -> None:
    layers = [small(layout, number) for number in range(6)]
    name = push(upstream, layout, layers, "install/missing")

    async def refuse(request: Any, answer: Any) -> Any:
        # Once those below are whole, and their worker waits for this one.
        while len(store._snapshots.records()) < 3:
            await asyncio.sleep(0.01)
        return await status(404)(request, answer)

    proxy.fault(layers[3].digest, refuse, times=9)
    with pytest.raises(PodyardError):
        await store.pull(f"{proxy.address}/{name}")
    await at_rest(store)
    assert left(store.folder) == set()
    proxy.heal()
    image = await store.pull(f"{proxy.address}/{name}")
    assert [path.name for folder in store.lower_dirs(image) for path in folder.iterdir()] == [
        f"s{number}" for number in reversed(range(6))
    ]
    await store.remove(f"{proxy.address}/{name}")
    assert left(store.folder) == set()


async def test_a_pull_that_is_cancelled_between_two_layers_leaves_no_worker(
    upstream: str, layout: LayoutWriter, store: ImageStore, proxy: Proxy
) -> None:
    layers = [small(layout, number) for number in range(3)]
    name = push(upstream, layout, layers, "install/cancelled")
    asked = asyncio.Event()

    async def hang(_request: Any, _answer: Any) -> Any:
        asked.set()
        await asyncio.sleep(60)

    proxy.fault(layers[1].digest, hang)
    pull = asyncio.create_task(store.pull(f"{proxy.address}/{name}"))
    await asked.wait()
    while not list(store._snapshots.records()):
        await asyncio.sleep(0.01)
    # The lowest is whole, and its worker waits for the second.
    assert len(list((store.folder / "l").iterdir())) == 4
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await pull
    await at_rest(store)
    assert left(store.folder) == set()
