"""Requests, and what is made of each answer."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web
from tests.support.kube import ApiServer, serving

from podyard.errors import (
    AlreadyExists,
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    Unavailable,
)
from podyard.node.kube import Access, Conflict, Expired, KubeClient, client, paths

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
}
WEB = paths.namespaced("pods", "default", "web")


async def test_objects_are_created_changed_and_deleted(kube: KubeClient) -> None:
    made = await kube.create(paths.namespaced("pods", "default"), POD)
    uid = made["metadata"]["uid"]
    assert (await kube.get(WEB))["spec"]["restartPolicy"] == "Always"
    with pytest.raises(AlreadyExists, match="POST /api/v1/namespaces/default/pods: the API server answers 409"):
        await kube.create(paths.namespaced("pods", "default"), POD)
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    changed = await kube.patch(f"{WEB}/status", {"metadata": {"uid": uid}, **status})
    assert changed["status"]["phase"] == "Running"
    assert [one["type"] for one in changed["status"]["conditions"]] == ["PodScheduled", "Ready"]
    await kube.delete(WEB, uid=uid)
    assert (await kube.get(WEB))["metadata"]["deletionGracePeriodSeconds"] == 30
    await kube.delete(WEB, uid=uid, grace=0)
    with pytest.raises(NotFound):
        await kube.get(WEB)


async def test_an_object_of_another_uid_or_version_is_left_alone(kube: KubeClient) -> None:
    made = await kube.create(paths.namespaced("pods", "default"), POD)
    with pytest.raises(Conflict, match="UID"):
        await kube.patch(f"{WEB}/status", {"metadata": {"uid": "another"}, "status": {"phase": "Failed"}})
    with pytest.raises(Conflict):
        await kube.delete(WEB, uid="another", grace=0)
    stale = dict(made)
    await kube.patch(WEB, {"metadata": {"labels": {"a": "b"}}}, "merge")
    with pytest.raises(Conflict, match="has been modified"):
        await kube.update(WEB, stale)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", InvalidArgument),
        (401, "Unauthorized", PermissionDenied),
        (403, "Forbidden", PermissionDenied),
        (410, "Gone", Expired),
        (422, "Invalid", InvalidArgument),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
    ],
)
async def test_each_refusal_has_its_error(
    server: ApiServer, kube: KubeClient, code: int, reason: str, kind: type[PodyardError]
) -> None:
    server.refuse("GET pods", code, reason)
    with pytest.raises(PodyardError, match=f"GET {WEB}: the API server answers {code} {reason}: injected") as caught:
        await kube.get(WEB)
    assert type(caught.value) is kind
    assert server.requests["GET pods"] == 1


async def test_a_throttled_request_is_sent_again_as_the_server_asks(server: ApiServer, kube: KubeClient) -> None:
    server.add("pods", "web", "default", spec=POD["spec"])
    server.refuse("GET pods", 429, "TooManyRequests", times=2, headers={"Retry-After": "0"})
    assert (await kube.get(WEB))["metadata"]["name"] == "web"
    assert server.requests["GET pods"] == 3
    server.refuse("GET pods", 429, "TooManyRequests", times=client.TRIES, headers={"Retry-After": "0"})
    with pytest.raises(Unavailable, match="429 TooManyRequests"):
        await kube.get(WEB)
    server.refuse("GET pods", 503, "ServiceUnavailable", headers={"Retry-After": "0"})
    assert (await kube.get(WEB))["metadata"]["name"] == "web"
    # A server that wants to be left alone for long is left alone; the caller waits.
    server.refuse("GET pods", 429, "TooManyRequests", headers={"Retry-After": "3600"})
    with pytest.raises(Unavailable, match="429 TooManyRequests"):
        await kube.get(WEB)


async def test_a_long_list_comes_in_parts(server: ApiServer, kube: KubeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 3)
    for number in range(8):
        server.add("configmaps", f"c{number}", "default")
    found, version = await kube.list(paths.namespaced("configmaps", "default"))
    assert [one["metadata"]["name"] for one in found] == [f"c{number}" for number in range(8)]
    assert (server.requests["LIST configmaps"], version) == (3, str(server.store.version))
    selected, _ = await kube.list("/api/v1/pods", {"fieldSelector": "spec.nodeName=n"})
    assert selected == []


async def test_a_watch_tells_changes_and_ends_where_its_version_is_forgotten(
    server: ApiServer, kube: KubeClient
) -> None:
    _, version = await kube.list("/api/v1/pods")
    server.add("pods", "web", "default", spec=POD["spec"])
    server.add("pods", "other", "default", spec={**POD["spec"], "nodeName": "m"})
    server.edit("pods", "web", "default", metadata={"labels": {"a": "b"}})
    server.delete("pods", "web", "default", grace=0)
    seen = []
    async for kind, found in kube.watch("/api/v1/pods", version, {"fieldSelector": "spec.nodeName=n"}):
        seen.append((kind, found["metadata"].get("name")))
        if kind == "BOOKMARK":
            assert found["metadata"]["resourceVersion"] == str(server.store.version)
            break
    assert seen == [("ADDED", "web"), ("MODIFIED", "web"), ("DELETED", "web"), ("BOOKMARK", None)]
    server.store.compact()
    with pytest.raises(Expired, match="too old resource version"):
        await anext(kube.watch("/api/v1/pods", version))


async def test_a_watch_that_is_cut_is_an_error(server: ApiServer, kube: KubeClient) -> None:
    server.bookmarks = 0.01
    with pytest.raises(Unavailable, match="cannot be reached"):
        async for _ in kube.watch("/api/v1/pods", str(server.store.version)):
            server.cut()


async def test_a_token_is_sent_and_its_file_read_again(tmp_path: Any) -> None:
    from podyard.node.kube.config import Part

    file = tmp_path / "token"
    file.write_text("old\n")
    async with (
        serving(ApiServer(token="old")) as server,
        KubeClient(Access(server=server.url, token=Part(path=file))) as kube,
    ):
        await kube.get(paths.namespaced("pods", "default"))
        server.token = "new"
        with pytest.raises(PermissionDenied, match="401 Unauthorized"):
            await kube.get(paths.namespaced("pods", "default"))
        file.write_text("new\n")
        await kube.get(paths.namespaced("pods", "default"))


async def test_a_server_that_is_not_there_or_says_nothing_ends_within_a_bound() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with KubeClient(Access(server=f"http://127.0.0.1:{port}"), timeout=0.2) as kube:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await kube.get(WEB)
            listening.listen()
            with pytest.raises(Unavailable, match="does not answer in time"):
                await kube.get(WEB)


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"nonsense", "not JSON"), (b"[1]", "not a JSON object"), (b'{"metadata": {}}', "without a resourceVersion")],
)
async def test_what_is_no_answer_is_an_error(body: bytes, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with KubeClient(Access(server=f"http://127.0.0.1:{runner.addresses[0][1]}")) as kube:
            with pytest.raises(DataLoss, match=said):
                await asyncio.wait_for(kube.list("/api/v1/pods"), 20)
    finally:
        await runner.cleanup()
