"""Images that nobody uses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.pressure import pod_of
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition
from podyard.manifest import parse
from podyard.manifest.model import Pod
from podyard.node.filesystem import FileSystem
from podyard.node.housekeeping import images
from podyard.node.housekeeping.images import ImageCollector, Known, excess, images_of, removable
from podyard.node.housekeeping.settings import Settings

GIB = 1 << 30


def disk(available: int, capacity: int = 100 * GIB) -> FileSystem:
    return FileSystem(capacity=capacity, available=available, inodes=0, inodes_free=0)


@pytest.mark.parametrize(
    ("available", "given", "found"),
    [
        (16 * GIB, Settings(), 0),
        (15 * GIB, Settings(), 5 * GIB),
        (0, Settings(), 20 * GIB),
        (50 * GIB, Settings(image_high=50, image_low=0), 50 * GIB),
        (0, Settings(image_high=100), 0),
    ],
)
def test_how_much_is_to_be_freed(available: int, given: Settings, found: int) -> None:
    assert excess(disk(available), given) == found
    assert excess(disk(0, 0), given) == 0


def test_the_longest_unused_goes_first_and_what_is_new_used_or_pinned_stays() -> None:
    known = [
        Known("new", 1, False, first_seen=950.0),
        Known("used", 1, False, first_seen=0.0),
        Known("pinned", 1, True, first_seen=0.0),
        Known("recent", 1, False, first_seen=0.0, last_used=900.0),
        Known("late", 1, False, first_seen=5.0),
        Known("early", 1, False, first_seen=0.0),
        Known("old", 1, False, first_seen=0.0, last_used=100.0),
    ]
    assert [one.id for one in removable(known, {"used"}, 1000.0, 100.0)] == ["early", "late", "old", "recent"]


def test_all_images_that_a_pod_names() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes: [{name: data, image: {reference: 'data:1'}}]
  initContainers: [{name: first, image: 'first:1'}]
  containers: [{name: main, image: 'main:1'}]
"""
    (pod,) = parse(text.encode(), "pod.yaml").pods
    assert images_of(pod) == {"data:1", "first:1", "main:1"}


class Collector:
    """A collector whose clock and whose disk a test sets."""

    def __init__(self, client: Client, given: Settings) -> None:
        self.now = 1000.0
        self.pods: list[Pod] = []
        self.images = ImageCollector(client, given, lambda: self.pods, lambda: self.now)


@pytest.fixture
def full(runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Says how much the images' disk has left, of 1000 bytes."""
    runtime.image_root = str(tmp_path)

    def left(amount: int) -> None:
        monkeypatch.setattr(images, "file_system", lambda path: disk(amount, 1000))

    left(1000)
    return left


def add(runtime: MemoryRuntime, *names: str, size: int = 100) -> None:
    for name in names:
        runtime.images[runtime.add_image(name)].size = size


def there(runtime: MemoryRuntime) -> set[str]:
    return {image.repo_tags[0] for image in runtime.images.values()}


def use(runtime: MemoryRuntime, name: str) -> None:
    """A container that was made of an image, whatever has become of it."""
    status = api.ContainerStatus(id=name, image=api.ImageSpec(image=name), state=api.CONTAINER_EXITED)
    runtime.containers[name], runtime.owners[name] = status, "sandbox"


async def test_no_more_images_go_than_it_takes(
    runtime: MemoryRuntime, client: Client, full: Callable[[int], None]
) -> None:
    add(runtime, "a:1", "b:1", "c:1", "used:1", "wanted:1", "infra:1")
    use(runtime, "used:1")
    collector = Collector(client, Settings(sandbox_image="infra:1"))
    collector.pods = [pod_of("web", image="wanted:1")]
    await collector.images.collect()
    assert len(there(runtime)) == 6
    full(50)
    await collector.images.collect()
    assert {"used:1", "wanted:1", "infra:1"} <= there(runtime)
    assert len(there(runtime)) == 4  # 150 bytes are to be freed, and an image has 100


async def test_too_little_to_remove_is_told_and_what_fails_keeps_nobody(
    runtime: MemoryRuntime, client: Client, full: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    add(runtime, "a:1", "b:1")
    stuck = runtime.add_image("a:1")
    runtime.fails[f"RemoveImage {stuck}"] = FailedPrecondition("in use")
    full(0)
    with caplog.at_level(logging.WARNING):
        await Collector(client, Settings()).images.collect()
    assert there(runtime) == {"a:1"}
    assert "in use" in caplog.text
    assert "200 bytes fuller than it is to be, and images that nobody uses free 100" in caplog.text


async def test_an_image_that_came_later_stays_for_its_time(
    runtime: MemoryRuntime, client: Client, full: Callable[[int], None]
) -> None:
    add(runtime, "before:1")
    collector = Collector(client, Settings(image_least_age=120.0))
    await collector.images.collect()
    add(runtime, "later:1")
    await collector.images.remove_unused()  # what was there at the first look is old enough
    assert there(runtime) == {"later:1"}
    collector.now += 119
    await collector.images.remove_unused()
    assert there(runtime) == {"later:1"}
    collector.now += 1
    await collector.images.remove_unused()
    assert there(runtime) == set()


async def test_images_that_were_not_used_for_long_go_however_much_room_there_is(
    runtime: MemoryRuntime, client: Client, full: Callable[[int], None]
) -> None:
    add(runtime, "a:1", "b:1")
    use(runtime, "b:1")
    collector = Collector(client, Settings(image_longest_age=3600.0))
    await collector.images.collect()
    assert there(runtime) == {"a:1", "b:1"}
    collector.now += 3601
    await collector.images.collect()
    assert there(runtime) == {"b:1"}
    del runtime.containers["b:1"]
    collector.now += 3600
    await collector.images.collect()
    assert there(runtime) == {"b:1"}
    collector.now += 1
    await collector.images.collect()
    assert there(runtime) == set()
