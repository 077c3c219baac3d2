"""Pulls with the configuration that a host has, from real registries."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.support import registry
from tests.support.faulty import Proxy, alter, status
from tests.support.registry_settings import auth_file, conf, hosts
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import FailedPrecondition, NotFound, PermissionDenied, RegistryUnavailable
from podyard.images.auth import Credentials
from podyard.images.layout import LayoutWriter


async def test_a_hosts_toml_sends_to_a_mirror_with_its_headers(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    text = f'[host."http://{proxy.address}"]\n[host."http://{proxy.address}".header]\nx-team = "blue"\n'
    store = await make_store(**hosts(tmp_path, "far.test", text))
    image = await store.pull(f"far.test/{pushed.repository}:1")
    assert image.repo_tags == (f"far.test/{pushed.repository}:1",)
    assert all(path.endswith("?ns=far.test") and headers["x-team"] == "blue" for path, headers in proxy.seen)


@pytest.mark.parametrize("own", [True, False], ids=["its own", "another's"])
async def test_a_server_that_stands_for_all_registries_is_told_which_one_is_meant(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path, own: bool
) -> None:
    store = await make_store(**hosts(tmp_path, "_default", f'server = "http://{proxy.address}"\n'))
    name = proxy.address if own else "far.test"
    await store.pull(f"{name}/{pushed.repository}:1")
    assert {path.partition("?")[2] for path, _ in proxy.seen} == {"" if own else "ns=far.test"}


@pytest.mark.parametrize("own", [True, False], ids=["its own", "another's"])
async def test_a_token_server_gets_the_headers_of_a_hosts_toml_where_it_is_the_registry_itself(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path, own: bool
) -> None:
    async def token(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.json_response({"token": "t"})

    async with Proxy(upstream).serving() as other:
        server = proxy if own else other
        server.fault("/token", token)
        challenge = f'Bearer realm="http://{server.address}/token",service="x"'
        proxy.fault("/v2/", status(401, {"WWW-Authenticate": challenge}))
        text = f'server = "http://{proxy.address}"\n[header]\nx-door = "key"\n'
        store = await make_store(**hosts(tmp_path, "far.test", text))
        await store.pull(f"far.test/{pushed.repository}:1")
        (asked,) = [headers for path, headers in server.seen if path.startswith("/token")]
    assert ("x-door" in asked) == own


async def test_a_mirror_that_may_not_resolve_is_asked_for_content_only(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    text = f'server = "http://{upstream}"\n[host."http://{proxy.address}"]\ncapabilities = ["pull"]\n'
    store = await make_store(**hosts(tmp_path, "far.test", text))
    await store.pull(f"far.test/{pushed.repository}:1")
    assert proxy.count("/manifests/1").total() == 0
    assert proxy.count("/blobs/").keys() == {
        f"/v2/{pushed.repository}/blobs/{digest}" for digest in (pushed.manifest.image_id, *pushed.layers)
    }


async def test_a_mirror_that_does_not_answer_is_waited_for_once(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    text = f'server = "http://{upstream}"\n[host."http://{proxy.address}"]\ncapabilities = ["pull"]\n'
    store = await make_store(**hosts(tmp_path, "far.test", text), attempts=2, parallel_layers=1)
    proxy.fault("/", status(503), times=99)
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert len(proxy.asked) == 2


async def test_a_mirror_that_lets_nobody_connect_is_tried_once_for_as_long_as_it_says(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    connected = 0

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(nothing, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        text = f'server = "http://{upstream}"\n[host."https://{host}:{port}"]\ndial_timeout = "50ms"\n'
        store = await make_store(**hosts(tmp_path, "far.test", text), connect_timeout=9999)
        assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert connected == 1


async def test_a_mirror_that_shows_a_web_page_is_passed_over(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    async def page(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    proxy.fault("/manifests/", page, times=9)
    text = f'server = "http://{upstream}"\n[host."http://{proxy.address}"]\n'
    store = await make_store(**hosts(tmp_path, "far.test", text))
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    with pytest.raises(RegistryUnavailable, match=f"{proxy.address} answers with a web page"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")


async def test_a_mirror_with_damaged_content_is_passed_over(
    proxy: Proxy, upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    text = f'server = "http://{upstream}"\n[host."http://{proxy.address}"]\n'
    store = await make_store(**hosts(tmp_path, "far.test", text))
    proxy.fault(pushed.layers[1], alter(lambda body: bytes(len(body))))
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert (await store.check()).findings == []


async def test_a_configuration_that_cannot_be_read_fails_the_pull_and_not_the_start(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    store = await make_store(**conf(tmp_path, "["))
    with pytest.raises(FailedPrecondition, match=r"registries\.conf cannot be used"):
        await store.pull(f"{upstream}/{pushed.repository}:1")
    # It is read again for each pull.
    conf(tmp_path, "")
    await store.pull(f"{upstream}/{pushed.repository}:1")


async def test_registries_conf_sends_elsewhere_and_blocks(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    text = (
        f'[[registry]]\nprefix = "far.test/x"\nlocation = "{proxy.address}/r"\ninsecure = true\n'
        '[[registry]]\nlocation = "bad.test"\nblocked = true\n'
    )
    store = await make_store(**conf(tmp_path, text))
    name = f"far.test/x/{pushed.repository.removeprefix('r/')}:1"
    assert (await store.pull(name)).repo_tags == (name,)
    with pytest.raises(PermissionDenied, match="blocked"):
        await store.pull("bad.test/a:1")


async def test_names_without_a_registry_are_looked_for_in_order(
    proxy: Proxy, upstream: str, pushed: Pushed, layout: LayoutWriter, make_store: MakeStore, tmp_path: Path
) -> None:
    registry.push(upstream, layout, pushed.manifest, "short", "1")
    proxy.fault("/manifests/", status(404), times=99)
    proxy.fault("/v2/", status(401, {"WWW-Authenticate": 'Basic realm="x"'}), times=99)
    text = f'unqualified-search-registries = ["{proxy.address}", "{upstream}"]\n'
    store = await make_store(**conf(tmp_path, text))
    image = await store.pull("short:1", Credentials("me", "for docker.io"))
    assert image.repo_tags == (f"{upstream}/short:1",)
    assert store.find("short:1") == image
    # What the pull brought along is not for whatever is searched.
    assert not any("Authorization" in headers for _, headers in proxy.seen)
    with pytest.raises(NotFound, match=f"{upstream}/none:1.*before that.*{proxy.address}"):
        await store.pull("none:1")
    await store.close()
    again = await make_store(**conf(tmp_path, text))
    assert again.find("short:1") == image


async def test_credentials_of_a_file_are_used_after_the_pull_s_own(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    good = "Basic " + base64.b64encode(b"file:secret").decode()

    async def guard(request: web.Request, answer: web.Response) -> web.StreamResponse:
        if request.headers.get("Authorization") == good:
            return answer
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    proxy.fault("/v2/", guard, times=9999)
    name = f"{proxy.address}/{pushed.repository}:1"
    store = await make_store(**auth_file(tmp_path, **{proxy.address: "file"}))
    assert (await store.pull(name)).id == pushed.manifest.image_id
    await store.remove(name)
    proxy.seen.clear()
    assert (await store.pull(name, Credentials("wrong", "wrong"))).id == pushed.manifest.image_id
    sent = [headers.get("Authorization", "") for _, headers in proxy.seen]
    assert sent[1] == Credentials("wrong", "wrong").basic()
    assert sent.count(sent[1]) == 1
    wrong = await make_store(tmp_path / "wrong", **auth_file(tmp_path, **{proxy.address: "other"}))
    with pytest.raises(PermissionDenied, match="refuses access"):
        await wrong.pull(name)


async def test_credential_helpers_of_registries_conf_are_asked(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-h"
    helper.write_text(f"""#!/bin/sh\ntest "$(cat)" = {proxy.address} && echo '{{"Username": "me", "Secret": "s"}}'\n""")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    proxy.fault("/v2/", status(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    store = await make_store(**conf(tmp_path, 'credential-helpers = ["containers-auth.json", "missing", "h"]\n'))
    await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert proxy.seen[1][1]["Authorization"] == Credentials("me", "s").basic()


async def test_why_there_are_no_credentials_is_told(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    proxy.fault("/v2/", status(401, {"WWW-Authenticate": 'Basic realm="x"'}), times=99)
    (tmp_path / "auth.json").write_text("{")
    store = await make_store(auth_files=[tmp_path / "auth.json"])
    with pytest.raises(PermissionDenied, match=r"no file of this host; .*auth\.json: cannot be read"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")


class Forward:
    """An HTTP proxy that takes whole URLs. ``asked`` has them; ``upstream`` is where they lead."""

    def __init__(self, upstream: str) -> None:
        self.asked: list[str] = []
        self.address = ""
        self._upstream = upstream

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(str(request.url))
        url = f"http://{self._upstream}{request.path_qs}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(url, headers={"Accept": request.headers["Accept"]}) as answer,
        ):
            kept = {name: answer.headers[name] for name in ("Content-Type",) if name in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@pytest.fixture
async def forward(upstream: str) -> AsyncIterator[Forward]:
    forward = Forward(upstream)
    runner = web.ServerRunner(web.Server(forward.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    forward.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield forward
    await runner.cleanup()


async def test_a_proxy_of_the_environment_is_used(
    forward: Forward, pushed: Pushed, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", forward.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    store = await make_store(insecure_registries=["far.test"])
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert forward.asked[0] == f"http://far.test/v2/{pushed.repository}/manifests/1"


async def test_a_proxy_of_a_hosts_toml_is_used_whatever_the_environment_says(
    forward: Forward, pushed: Pushed, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    text = f'server = "http://far.test"\nproxy = "http://{forward.address}"\n'
    store = await make_store(**hosts(tmp_path, "far.test", text))
    assert (await store.pull(f"far.test/{pushed.repository}:1")).id == pushed.manifest.image_id
    assert forward.asked[0] == f"http://far.test/v2/{pushed.repository}/manifests/1"


@pytest.mark.parametrize(
    ("proxy_of", "text"),
    [("http://me:hunter2@{}", "the proxy {} does not lead to far.test: 407"), ("http://me:hunter2@[", "is no URL")],
    ids=["refuses", "no URL"],
)
async def test_what_is_wrong_with_a_proxy_is_told_without_its_password(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, proxy_of: str, text: str
) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=407)

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        monkeypatch.setenv("https_proxy", proxy_of.format(address))
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.delenv("NO_PROXY", raising=False)
        store = await make_store(attempts=1)
        with pytest.raises(RegistryUnavailable, match=text.format(address)) as caught:
            await store.pull("far.test/a:1")
    finally:
        await runner.cleanup()
    assert "hunter2" not in str(caught.value)
