"""A manifest on a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.unit.node.conftest import POD

from podyard.manifest.source import MAX_BYTES
from podyard.node.url import ManifestUrl


class Page:
    """What the server answers. ``headers`` are those of the last request."""

    def __init__(self) -> None:
        self.text = POD.format(name="web", mark="a")
        self.status = 200
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.headers = dict(request.headers)
        return web.Response(text=self.text, status=self.status)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    app = web.Application()
    app.router.add_get("/pods", page.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    page.url = f"http://127.0.0.1:{runner.addresses[0][1]}/pods"
    yield page
    await runner.cleanup()


@pytest.fixture
async def source(page: Page) -> AsyncIterator[ManifestUrl]:
    source = ManifestUrl(page.url, {"X-Node": "n"}, node="n", interval=0.01)
    running = asyncio.create_task(source.run())
    yield source
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled(), running.exception()


async def seen(page: Page, source: ManifestUrl) -> Any:
    """What the source says after a request that began after this call."""
    async with asyncio.timeout(20):
        asked = page.asked
        while page.asked < asked + 2:
            await asyncio.sleep(0.01)
    return await source.wanted()


async def test_nothing_is_known_before_the_first_answer(page: Page) -> None:
    assert (await ManifestUrl(page.url).wanted()).blind


async def test_its_pods_carry_the_url_and_follow_its_changes(page: Page, source: ManifestUrl) -> None:
    wanted = await seen(page, source)
    (pod,) = wanted.pods.values()
    annotations = {"podyard.io/origin": page.url, "kubernetes.io/config.source": "http"}
    assert (pod.full_name, pod.spec.node_name, pod.metadata.annotations) == ("default/web-n", "n", annotations)
    assert source.owns(page.url)
    assert page.headers["X-Node"] == "n"
    page.text = POD.format(name="db", mark="a") + "---\n" + POD.format(name="web", mark="b")
    assert sorted((await seen(page, source)).pods) == ["default/db-n", "default/web-n"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("apiVersion: v1\nkind: Pod\n", 200, "/pods:1: spec: missing: what runs is left alone"),
        ("", 200, "no Pod in it"),
        ("a" * (MAX_BYTES + 1), 200, "larger than"),
        (POD, 503, "the server answers 503"),
    ],
)
async def test_what_is_wrong_is_told_and_what_it_said_before_counts(
    page: Page, source: ManifestUrl, text: str, status: int, said: str
) -> None:
    before = (await seen(page, source)).pods
    page.text, page.status = text, status
    wanted = await seen(page, source)
    assert wanted.pods == before
    assert said in wanted.problems[page.url]
    page.text, page.status = POD.format(name="web", mark="a"), 200
    assert (await seen(page, source)).problems == {}
