"""The daemon killed while it pulls: the next start finds nothing wrong, and the next pull completes the image."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.test_sandbox import fetch
from tests.support import registry
from tests.support.images import Images
from tests.support.servers import Podyard, running

from podyard.client import Client
from podyard.errors import PodyardError
from podyard.images.layout import LayoutWriter, file

KILLS = int(os.environ.get("PODYARD_TEST_DAEMON_KILLS", "3"))
"""How often the daemon is killed. 50 take some 70 seconds."""
POLL = 0.002
"""Seconds between two looks at what the daemon is doing."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Podyard]:
    """A podyard of the test's own."""
    server = Podyard(tmp_path / "own", metrics_listen=f"127.0.0.1:{registry.free_port()}")
    with running(server):
        yield server


@pytest.fixture
def pushed(images: Images, tmp_path: Path) -> dict[str, str]:
    """Two images that share layers: the id of each by its name."""
    noise = random.Random(3)
    layout = LayoutWriter(tmp_path / "layout")
    base = [
        layout.add_layer({f"base{number}/{index}": file(noise.randbytes(30_000)) for index in range(60)})
        for number in range(3)
    ]
    made = {}
    for name in ("one", "two"):
        own = {f"{name}/{index}": file(noise.randbytes(3_000)) for index in range(300)}
        manifest = layout.add_image([*base, own])
        registry.push(images.registry, layout, manifest, f"crash/{name}", "1")
        made[f"{images.registry}/crash/{name}:1"] = manifest.image_id
    return made


async def test_the_daemon_killed_at_a_random_instant_of_a_pull(own: Podyard, pushed: dict[str, str]) -> None:
    chance = random.Random(11)
    seen: Counter[str] = Counter()
    longest = 0.0  # the first one is killed as soon as it is at it
    for _ in range(KILLS):
        seen.update(await _kill_while_pulling(own, pushed, chance.uniform(0, longest)))
        own.spawn()
        await own.ready()
        async with await Client.connect(own.endpoint) as client:
            await _nothing_is_wrong(client)
            found = {image.id for image in await client.images.list_images()}
            seen["whole images"] += len(found)
            assert found <= set(pushed.values())
            began = time.monotonic()
            for name, image_id in pushed.items():
                assert await client.images.pull_image(name) == image_id
            longest = max(longest, time.monotonic() - began)
            await _nothing_is_wrong(client)
            for name in pushed:
                await client.images.remove_image(name)
            await client.admin.collect_garbage()
            assert await client.admin.collect_garbage(dry_run=True) == []
    assert seen.keys() - {"whole images"}, "no pull was met"
    # The last daemon has pulled both once.
    assert 'podyard_image_pulls_total{result="OK"} 2' in await fetch(f"http://{own.settings['metrics_listen']}/metrics")


async def _kill_while_pulling(server: Podyard, names: dict[str, str], after: float) -> list[str]:
    """Kill the daemon some seconds after it has begun to pull images; what it was doing."""
    async with await Client.connect(server.endpoint) as client:
        pulls = [asyncio.create_task(client.images.pull_image(name)) for name in names]
        while not await client.admin.list_pulls():
            assert not all(pull.done() for pull in pulls), "no pull was seen"
            await asyncio.sleep(POLL)
        await asyncio.sleep(after)
        doing = [pull.stage for pull in await client.admin.list_pulls()]
        server.kill()
        for result in await asyncio.gather(*pulls, return_exceptions=True):
            assert isinstance(result, str | PodyardError), result
    return doing


async def _nothing_is_wrong(client: Client) -> None:
    # A layer that no image uses yet cannot be checked, which is noted.
    assert [finding for finding in (await client.admin.check_images()).findings if not finding.note] == []
    for item in await client.admin.collect_garbage(dry_run=True):
        assert item.held or item.why.startswith("a failed pull has left it"), item
