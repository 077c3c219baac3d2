"""The node's own API on both runtimes, as an API server calls it for kubectl."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from tests.support.images import Images
from tests.support.kube import ApiServer, serving
from tests.support.kube.certificates import Authority
from tests.support.node import WAIT_LIMIT, Node
from tests.support.pods import Kit
from tests.support.servers import Server

from podyard.client.streams import PortForward, Transport, Wanted, dial, open_session

MAIN = "echo one; echo two; echo three >&2; echo page > /page; exec httpd -f -p 8080 -h /"
FORWARD_PORT = 8080


class Api:
    """The node's API as its clients reach it. ``certified``: TLS settings of a client with a certificate."""

    def __init__(self, port: int, trust: Path, session: aiohttp.ClientSession) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.trust = ssl.create_default_context(cafile=str(trust))
        self._session = session

    @asynccontextmanager
    async def open(
        self, path: str, token: str = "admin-token", method: str = "GET", **query: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.url}{path}"
        async with self._session.request(method, url, params=query, headers=headers, ssl=self.trust) as response:
            yield response

    async def get(self, path: str, token: str = "admin-token", method: str = "GET", **query: str) -> tuple[int, str]:
        async with self.open(path, token, method, **query) as response:
            return response.status, await response.text()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An API server that knows an administrator and a collector of metrics."""
    async with serving(ApiServer()) as server:
        server.reviews.users["admin-token"] = {"username": "admin", "groups": ["admins"]}
        server.reviews.users["metrics-token"] = {"username": "collector"}
        server.reviews.rules |= {("admins", "*", "*"), ("collector", "get", "metrics")}
        server.reviews.rules |= {("apiserver", "*", "proxy")}
        config = {
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "contexts": [{"name": "x", "context": {"cluster": "c"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(config))
        yield server


@pytest.fixture
async def node(kit: Kit, server: Server, cluster: ApiServer) -> AsyncIterator[Node]:
    node = Node(server, kit.folder)
    yield node
    for key in [key for key in cluster.store.objects if key[0] == "pods"]:
        cluster.store.remove(key)
    await node.close(kit.client)


def pod(image: str) -> dict[str, Any]:
    return {
        "nodeName": "n",
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {"name": "main", "image": image, "command": ["sh", "-c", MAIN]},
            {"name": "cat", "image": image, "command": ["cat"], "stdin": True},
        ],
    }


def ready(cluster: ApiServer) -> bool:
    found = cluster.get("pods", "web", "default").get("status", {})
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found.get("conditions", ()))


async def until_ready(node: Node, cluster: ApiServer) -> int:
    """Wait until the Pod runs; where its node says that its API is."""
    try:
        async with asyncio.timeout(WAIT_LIMIT):
            while not ready(cluster):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(node.log.read_text()[-6000:]) from None
    return int(cluster.get("nodes", "n")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"])


async def test_the_nodes_api(
    node: Node, cluster: ApiServer, kit: Kit, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pair.certificate)
    cluster.add("pods", "web", "default", spec=pod(images.busybox))
    options = ("--kubeconfig", str(tmp_path / "config"), "--node-name", "n", "--port", "0", "--address", "127.0.0.1")
    node.start(*options, "--client-ca-file", str(tmp_path / "ca.pem"), "--anonymous-healthz")
    port = await until_ready(node, cluster)
    async with asyncio.timeout(WAIT_LIMIT), aiohttp.ClientSession() as session:
        api = Api(port, kit.folder / "node.pem", session)
        await who_may_do_what(api)
        await pods_and_figures(api)
        status, text = await api.get("/metrics/cadvisor", "metrics-token")
        # Debian's containerd has no such metrics.
        assert status == (200 if kit.runtime == "podyard" else 501), text
        assert ('container="main"' in text) == (status == 200)
        await logs(api)
        monkeypatch.setattr(dial, "unverified", lambda: certified(authority, tmp_path, api.trust))
        for transport in ("spdy", "websocket"):
            await streams(api, transport)


async def who_may_do_what(api: Api) -> None:
    assert await api.get("/healthz", "") == (200, "ok")
    assert (await api.get("/pods", ""))[0] == 401
    assert (await api.get("/pods", "unknown"))[0] == 401
    status, said = await api.get("/pods", "metrics-token")
    assert (status, said.partition(":")[0]) == (
        403,
        "Forbidden (user=collector, verb=get, resource=nodes, subresource=proxy)",
    )
    assert (await api.get("/metrics/resource", "metrics-token"))[0] == 200
    assert (await api.get("/exec/default/web/main", "metrics-token", "POST", command="id", output="1"))[0] == 403
    assert (await api.get("/exec/default/web/main", method="POST", command="id", output="1"))[0] == 400
    assert (await api.get("/no/such/path"))[0] == 404


async def pods_and_figures(api: Api) -> None:
    status, text = await api.get("/pods")
    assert [one["status"]["phase"] for one in json.loads(text)["items"]] == ["Running"], status
    (running,) = json.loads((await api.get("/runningpods/"))[1])["items"]
    assert [one["name"] for one in running["spec"]["containers"]] == ["main", "cat"]
    async with asyncio.timeout(WAIT_LIMIT):  # volumes are measured in the background
        while "ephemeral-storage" not in (summary := json.loads((await api.get("/stats/summary"))[1]))["pods"][0]:
            await asyncio.sleep(0.1)
    (web,) = summary["pods"]
    assert all(one["logs"]["capacityBytes"] > 0 for one in web["containers"])
    assert {"rxBytes", "txBytes"} <= summary["node"]["network"]["interfaces"][0].keys()
    assert summary["node"]["memory"]["workingSetBytes"] > 0
    assert (web["podRef"]["name"], {one["name"] for one in web["containers"]}) == ("web", {"main", "cat"})
    assert all(one["memory"]["workingSetBytes"] > 0 for one in web["containers"])
    metrics = (await api.get("/metrics/resource"))[1]
    assert 'container_memory_working_set_bytes{container="main",namespace="default",pod="web"} ' in metrics
    assert "\nresource_scrape_error 0\n" in metrics
    assert "\nkubelet_running_pods 1\n" in (await api.get("/metrics"))[1]
    assert await api.get("/run/default/web/main", method="POST", cmd="echo hello") == (200, "hello\n")
    assert (await api.get("/run/default/web/main", method="POST", cmd="false"))[0] == 500
    uid = web["podRef"]["uid"]
    assert await api.get(f"/run/default/web/{uid}/main", method="POST", cmd="echo hello") == (200, "hello\n")
    assert (await api.get("/run/default/web/another-uid/main", method="POST", cmd="true"))[0] == 404


async def logs(api: Api) -> None:
    path = "/containerLogs/default/web/main"
    assert sorted((await api.get(path))[1].splitlines()) == ["one", "three", "two"]
    assert await api.get(path, stream="Stdout") == (200, "one\ntwo\n")
    assert await api.get(path, stream="Stderr", limitBytes="3") == (200, "thr")
    assert len((await api.get(path, tailLines="1", timestamps="true"))[1].split()) == 2
    assert await api.get(path, sinceTime="2100-01-01T00:00:00Z") == (200, "")
    assert (await api.get(path, previous="true"))[0] == 400
    assert (await api.get("/containerLogs/default/web/none"))[0] == 404
    assert (await api.get("/containerLogs/default/none/main"))[0] == 404
    assert (await api.get(path, tailLines="x"))[0] == 400


async def streams(api: Api, transport: Transport) -> None:
    """Exec, attach with a followed log, and port-forward."""
    wanted = Wanted(stdin=True, stdout=True, stderr=True, tty=False)
    query = {"input": "1", "output": "1", "error": "1"}

    def ask(path: str, more: list[tuple[str, str]]) -> Any:
        async def url(*_: int) -> str:
            return f"{api.url}{path}?{urlencode([*more, *query.items()])}"

        return url

    # WebSocket's older subprotocols cannot end standard input, so the command goes by how much it gets.
    content = bytes(range(256)) * 4096
    words = [
        ("command", word) for word in ("sh", "-c", f"head -c {len(content)}; echo oh >&2; exit 7 # {'long ' * 5000}")
    ]
    found = {"stdout": bytearray(), "stderr": bytearray()}
    async with open_session(ask("/exec/default/web/main", words), wanted, transport) as session:
        feeding = asyncio.create_task(session.stdin.write(content))
        async for piece in session:
            found[piece.stream] += piece.data
        await feeding
        assert await session.wait() == 7
    assert (bytes(found["stdout"]), bytes(found["stderr"])) == (content, b"oh\n")

    async with (
        api.open("/containerLogs/default/web/cat", follow="true", tailLines="0") as followed,
        open_session(ask("/attach/default/web/cat", []), wanted, transport) as session,
    ):
        await session.stdin.write(f"by {transport}\n".encode())
        assert await followed.content.readline() == f"by {transport}\n".encode()
        assert await session.stdout.read() == f"by {transport}\n".encode()

    query.clear()
    forward = PortForward(ask("/portForward/default/web", [("port", str(FORWARD_PORT))]), transport)
    async with await forward.connect(FORWARD_PORT) as connection:
        await connection.write(b"GET /page HTTP/1.0\r\n\r\n")
        answer = bytearray()
        while piece := await connection.read():
            answer += piece
        assert answer.endswith(b"\r\npage\n")
    await forward.close()


def certified(authority: Authority, folder: Path, trust: ssl.SSLContext) -> ssl.SSLContext:
    """TLS settings of an API server: it shows a certificate."""
    pair = authority.issue("apiserver")
    (folder / "client.pem").write_bytes(pair.certificate + pair.key)
    trust.load_cert_chain(folder / "client.pem")
    return trust
