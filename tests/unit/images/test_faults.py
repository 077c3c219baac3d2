"""Registries that fail, lie, stall and send elsewhere."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from aiohttp import web
from tests.support import registry
from tests.support.faulty import Fault, Proxy, alter, cut, ignore_range, redirect, status
from tests.unit.images.conftest import MakeStore, Pushed, left

from podyard.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    RegistryUnavailable,
    Unimplemented,
)
from podyard.images.answers import _retry_after
from podyard.images.content import digest_of
from podyard.images.layout import LayoutWriter, file
from podyard.images.store import ImageStore


@pytest.fixture
def name(proxy: Proxy, pushed: Pushed) -> str:
    """The image, through the proxy."""
    return f"{proxy.address}/{pushed.repository}:1"


async def test_a_cut_layer_is_resumed_where_it_broke_off(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str
) -> None:
    for after in (100_000, 250_000):
        proxy.fault(pushed.layers[1], cut(after))
    assert (await store.pull(name)).id == pushed.manifest.image_id
    ranges = [headers.get("Range") for path, headers in proxy.seen if pushed.layers[1] in path]
    assert ranges[0] is None
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in ranges[1:] if text]
    assert len(starts) == 2
    # What had arrived is not asked for again.
    assert starts == [100_000, 350_000]


async def test_a_layer_that_breaks_off_more_often_than_is_tried_still_comes_if_it_goes_forward(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    store = await make_store(attempts=2)
    proxy.fault(pushed.layers[1], cut(70_000), times=6)
    assert (await store.pull(name)).id == pushed.manifest.image_id
    assert proxy.count(pushed.layers[1]).total() == 7


async def test_a_layer_that_never_goes_forward_is_given_up(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    store = await make_store(attempts=3)
    proxy.fault(pushed.layers[1], cut(0), times=99)
    with pytest.raises(RegistryUnavailable, match=r"cut.*\(3 attempts\)"):
        await store.pull(name)
    assert proxy.count(pushed.layers[1]).total() == 3
    assert left(store.folder) == set()


async def test_a_registry_without_ranges_sends_a_cut_layer_again(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str
) -> None:
    proxy.fault(pushed.layers[1], cut(100_000))
    proxy.fault(pushed.layers[1], ignore_range(pushed.last))
    assert (await store.pull(name)).id == pushed.manifest.image_id


async def _another_range(request: web.Request, answer: web.Response) -> web.StreamResponse:
    assert isinstance(answer.body, bytes)
    return web.Response(status=206, body=answer.body[9:], headers={"Content-Range": "bytes 9-600000/600001"})


@pytest.mark.parametrize("fault", [status(416), _another_range])
async def test_a_registry_that_gives_no_range_sends_a_cut_layer_from_the_beginning(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str, fault: Fault
) -> None:
    store = await make_store(parts_age=3600.0)

    async def refuse_ranges(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return await fault(request, answer) if "Range" in request.headers else answer

    proxy.fault(pushed.layers[1], cut(100_000))
    proxy.fault(pushed.layers[1], refuse_ranges, times=99)
    assert (await store.pull(name)).id == pushed.manifest.image_id


async def test_a_layer_that_always_starts_again_is_given_up(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    store = await make_store(attempts=3)

    async def cut_whole(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return await cut(100_000)(request, web.Response(body=pushed.last))

    proxy.fault(pushed.layers[1], cut_whole, times=99)
    with pytest.raises(RegistryUnavailable, match="attempts"):
        await store.pull(name)
    assert proxy.count(pushed.layers[1]).total() < 10


@pytest.mark.parametrize(
    "fault",
    [status(429, {"Retry-After": "0"}), status(500), status(503, text='{"errors":[{"code":"DOWN"}]}'), cut(10)],
    ids=["429", "500", "503", "cut"],
)
async def test_what_may_pass_is_tried_again(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str, fault: Fault
) -> None:
    proxy.fault("/manifests/1", fault, times=3)
    proxy.fault("/blobs/", fault, times=3)
    assert (await store.pull(name)).id == pushed.manifest.image_id


async def test_a_registry_that_stays_broken_is_unavailable(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    store = await make_store(attempts=3)
    said = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "come\x00back later"}]})
    proxy.fault("/manifests/", status(429, text=said), times=99)
    with pytest.raises(RegistryUnavailable, match=r"429 Too Many Requests: TOOMANYREQUESTS come\?back later") as caught:
        await store.pull(name)
    assert "(3 attempts)" in str(caught.value)
    assert len(proxy.asked) == 3


async def test_a_registry_says_how_long_to_wait(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await make_store(retry_delay_limit=7.0)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("podyard.images.registry.asyncio.sleep", note)
    proxy.fault("/manifests/", status(429, {"Retry-After": "5"}))
    proxy.fault("/manifests/", status(429, {"Retry-After": "500000"}))
    await store.pull(name)
    assert [seconds for seconds in waits if seconds >= 1] == [5.0, 7.0]


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _retry_after("120") == 120
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _retry_after(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))) > 50
    assert [_retry_after(text) for text in ("", "soon", "-5", "1.5", "²")] == [0] * 5


async def test_a_connection_without_a_byte_counts_as_cut(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    store = await make_store(attempts=2, progress_timeout=0.1)
    release = asyncio.Event()

    async def hang(request: web.Request, answer: web.Response) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await release.wait()
        return response

    proxy.fault(pushed.layers[1], hang, times=2)
    with pytest.raises(RegistryUnavailable, match=r"sent nothing for 0\.1 s \(2 attempts\)"):
        await store.pull(name)
    release.set()
    assert left(store.folder) == set()


def _flip(body: bytes) -> bytes:
    return body[:100] + bytes([body[100] ^ 1]) + body[101:]


@pytest.mark.parametrize("position", [0, 1])
async def test_a_damaged_layer_is_refused_with_both_digests(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str, position: int, layout: LayoutWriter
) -> None:
    good = layout.path(pushed.layers[position]).read_bytes()
    proxy.fault(pushed.layers[position], alter(_flip))
    with pytest.raises(DataLoss) as caught:
        await store.pull(name)
    assert pushed.layers[position] in str(caught.value)
    assert digest_of(_flip(good)) in str(caught.value)
    assert (store.images(), store.usage().size, left(store.folder)) == ([], 0, set())
    # The next pull is not hindered by it.
    assert (await store.pull(name)).id == pushed.manifest.image_id


@pytest.mark.parametrize("change", [lambda body: body + b"x", lambda body: body[:-1]], ids=["longer", "shorter"])
async def test_a_layer_of_another_length_is_refused(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str, change: Callable[[bytes], bytes]
) -> None:
    store = await make_store(attempts=2)

    async def whole(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.Response(body=change(pushed.last))

    proxy.fault(pushed.layers[1], whole, times=99)
    with pytest.raises((DataLoss, RegistryUnavailable), match=rf"of {len(pushed.last)} bytes|says {len(pushed.last)}"):
        await store.pull(name)
    assert left(store.folder) == set()


async def test_a_wrong_manifest_or_configuration_is_refused_with_both_digests(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str
) -> None:
    pinned = f"{proxy.address}/{pushed.repository}@{pushed.manifest.digest}"
    for part, wanted, asked in (
        ("/manifests/", pushed.manifest.digest, pinned),
        (pushed.manifest.image_id, pushed.manifest.image_id, name),
    ):
        proxy.fault(part, alter(lambda body: body + b" "))
        with pytest.raises(DataLoss, match=f"should have the digest {wanted} but has sha256:"):
            await store.pull(asked)
    assert left(store.folder) == set()


async def test_a_tag_s_manifest_is_compared_with_what_the_registry_says_of_it(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str
) -> None:
    async def lie(request: web.Request, answer: web.Response) -> web.StreamResponse:
        answer.headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
        return answer

    proxy.fault("/manifests/", lie)
    with pytest.raises(DataLoss, match="sha256:0000"):
        await store.pull(name)


@pytest.mark.parametrize(
    ("document", "kind", "text"),
    [
        (b"{", InvalidArgument, "cannot be read"),
        (b"[" * 100_000, InvalidArgument, "cannot be read"),
        (b'{"schemaVersion":1,"fsLayers":[]}', Unimplemented, "schema 1"),
        (b'{"schemaVersion":2}', InvalidArgument, "neither clearly"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', InvalidArgument, "neither clearly"),
        (b" " * (5 << 20), RegistryUnavailable, "more than 4194304 bytes"),
    ],
    ids=["cut", "deep", "schema1", "empty", "both", "large"],
)
async def test_a_document_that_is_no_manifest_is_refused(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str, document: bytes, kind: type[PodyardError], text: str
) -> None:
    proxy.fault("/manifests/", alter(lambda body: document))
    with pytest.raises(kind, match=text):
        await store.pull(name)
    assert left(store.folder) == set()


async def test_layers_that_do_not_match_the_configuration_are_refused(
    upstream: str, proxy: Proxy, pushed: Pushed, store: ImageStore, layout: LayoutWriter, name: str
) -> None:
    manifest = json.loads(layout.path(pushed.manifest.digest).read_bytes())
    manifest["layers"].pop()
    proxy.fault("/manifests/", alter(lambda body: json.dumps(manifest).encode()))
    with pytest.raises(InvalidArgument, match="1 layers in its manifest but 2 in its configuration"):
        await store.pull(name)
    # The layers the other way round: the uncompressed content is not what the configuration says.
    manifest = json.loads(layout.path(pushed.manifest.digest).read_bytes())
    manifest["layers"].reverse()
    proxy.fault("/manifests/", alter(lambda body: json.dumps(manifest).encode()))
    with pytest.raises(DataLoss, match=r"sha256:.*sha256:"):
        await store.pull(name)
    assert left(store.folder) == set()


async def test_a_missing_layer_is_not_found(proxy: Proxy, pushed: Pushed, store: ImageStore, name: str) -> None:
    proxy.fault(pushed.layers[0], status(404))
    with pytest.raises(NotFound, match=f"layer {pushed.layers[0]} of {name}: {proxy.address} does not have it"):
        await store.pull(name)
    assert left(store.folder) == set()


async def test_a_blob_store_gets_no_credentials(
    proxy: Proxy, upstream: str, pushed: Pushed, store: ImageStore, name: str
) -> None:
    from podyard.images.auth import Credentials

    async with Proxy(upstream).serving() as elsewhere:
        basic = status(401, {"WWW-Authenticate": 'Basic realm="x"'})
        proxy.fault("/manifests/", basic)
        proxy.fault("/blobs/", redirect(lambda request: f"http://{elsewhere.address}{request.path_qs}"), times=99)
        image = await store.pull(name, Credentials("me", "secret"))
        assert image.id == pushed.manifest.image_id
        assert any("Authorization" in headers for _, headers in proxy.seen)
        assert elsewhere.asked
        assert not any("Authorization" in headers for _, headers in elsewhere.seen)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("ftp://127.0.0.1/x", "not secure"),
        ("http://[", "is no URL"),
        ("http://127.0.0.1:70000/x", "is no URL"),
        (f"http://{'a' * 64}.test/x", "can be no host's name"),
        ("", "more than 10 times"),
    ],
)
async def test_a_redirect_that_leads_nowhere_is_refused(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str, target: str, text: str
) -> None:
    proxy.fault("/manifests/", redirect(lambda request: target), times=99)
    with pytest.raises(RegistryUnavailable, match=text):
        await store.pull(name)


async def test_a_redirect_to_a_host_that_is_not_there_names_that_host(
    proxy: Proxy, pushed: Pushed, store: ImageStore, name: str
) -> None:
    nobody = f"127.0.0.1:{registry.free_port()}"
    proxy.fault("/manifests/", redirect(lambda request: f"http://{nobody}/x"))
    with pytest.raises(RegistryUnavailable, match=f"cannot connect to {nobody}: Connection refused"):
        await store.pull(name)


async def test_a_blob_store_that_does_not_speak_http_is_told_without_the_signature_that_opens_it(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, name: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"rubbish\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        proxy.fault("/blobs/", redirect(lambda request: f"http://{host}:{port}/blob?X-Amz-Signature=5ec7e7"), times=99)
        store = await make_store(attempts=1)
        with pytest.raises(RegistryUnavailable, match=f"{proxy.address} was cut: 400 ") as caught:
            await store.pull(name)
    assert "5ec7e7" not in str(caught.value)


@pytest.mark.parametrize("code", [400, 405, 418])
async def test_an_odd_status_is_told(proxy: Proxy, pushed: Pushed, store: ImageStore, name: str, code: int) -> None:
    proxy.fault("/manifests/", status(code, text="<html>"))
    with pytest.raises(RegistryUnavailable, match=f"{proxy.address} answers {code}"):
        await store.pull(name)
    assert len(proxy.asked) == 1


async def test_a_failed_pull_leaves_what_another_needs(
    proxy: Proxy, upstream: str, pushed: Pushed, layout: LayoutWriter, store: ImageStore, name: str
) -> None:
    good = await store.pull(f"{upstream}/{pushed.repository}:1")
    broken = layout.add_layer({"broken": file("x")})
    other = layout.add_image([*pushed.written, broken])
    registry.push(upstream, layout, other, pushed.repository, "2")
    before = left(store.folder)
    proxy.fault(broken.digest, status(403))
    with pytest.raises(PermissionDenied):
        await store.pull(f"{proxy.address}/{pushed.repository}:2")
    assert left(store.folder) == before
    assert store.images() == [good]


async def test_one_pull_s_failure_is_not_another_s(
    proxy: Proxy, upstream: str, pushed: Pushed, store: ImageStore, name: str
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def refuse(request: web.Request, answer: web.Response) -> web.StreamResponse:
        reached.set()
        await go.wait()
        return web.Response(status=403)

    proxy.fault(pushed.layers[1], refuse)
    first = asyncio.create_task(store.pull(name))
    await reached.wait()
    # Waits for the first one's layer, whose registry refuses it; its own has it.
    second = asyncio.create_task(store.pull(f"{upstream}/{pushed.repository}:1"))
    while not any(progress.layers and progress.reference != name for progress in store.pulls()):
        await asyncio.sleep(0.001)
    go.set()
    with pytest.raises(PermissionDenied):
        await first
    assert (await second).id == pushed.manifest.image_id
