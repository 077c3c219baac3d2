"""The port of the node's own API: certificates on both sides, and what its answers are."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.kube.certificates import Authority
from tests.unit.node.conftest import Agents, Directory
from tests.unit.pods.conftest import MemoryRuntime

from podyard.client import Client
from podyard.errors import ConfigError, FailedPrecondition
from podyard.node.agent import Agent
from podyard.node.serving import NodeApi, Serving, serving
from podyard.pods import PodEngine
from podyard.pods.restarts import BackOffPolicy

Until = Callable[[Callable[[], object]], Any]


class Node:
    """An agent with one Pod, "default/web", and what its API is made of."""

    def __init__(self, client: Client, agent: Agent, folder: Path) -> None:
        engine = PodEngine(client, folder / "pods", log_root=folder / "logs", back_off=BackOffPolicy())
        self.api = NodeApi(client, engine, agent, folder / "pods", "n", None)
        self.authority = Authority()
        self.folder = folder
        (folder / "ca.pem").write_bytes(self.authority.pair.certificate)

    def settings(self, **more: Any) -> Serving:
        given = {"own_certificate": self.folder / "node.pem", "address": "127.0.0.1", "port": 0}
        return Serving(**{**given, "authorities": self.folder / "ca.pem", **more})

    def trust(self, authority: Authority | None = None) -> ssl.SSLContext:
        """A client's settings: it trusts the node's certificate, and shows one of an authority's."""
        context = ssl.create_default_context(cafile=str(self.folder / "node.pem"))
        if authority is not None:
            pair = authority.issue("ann")
            (self.folder / "ann.pem").write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(self.folder / "ann.pem")
        return context


@pytest.fixture
async def node(
    agents: Agents, client: Client, runtime: MemoryRuntime, directory: Directory, until: Until, tmp_path: Path
) -> Node:
    directory.pod("web")
    agent = agents.start()
    await until(lambda: "StartContainer main" in runtime.calls)
    return Node(client, agent, tmp_path)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


async def get(session: aiohttp.ClientSession, port: int, path: str, tls: ssl.SSLContext) -> tuple[int, str]:
    async with session.get(f"https://127.0.0.1:{port}{path}", ssl=tls) as response:
        return response.status, await response.text()


async def test_without_an_api_server_certificates_let_in(node: Node, session: aiohttp.ClientSession) -> None:
    async with serving(node.api, node.settings(), []) as port:
        status, text = await get(session, port, "/pods", node.trust(node.authority))
        assert (status, '"name": "web"' in text) == (200, True)
        assert await get(session, port, "/pods", node.trust()) == (401, "Unauthorized\n")
        assert await get(session, port, "/healthz", node.trust()) == (401, "Unauthorized\n")
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await get(session, port, "/pods", node.trust(Authority()))


async def test_health_may_be_open_to_all(node: Node, session: aiohttp.ClientSession) -> None:
    async with serving(node.api, node.settings(anonymous_health=True), []) as port:
        assert await get(session, port, "/healthz", node.trust()) == (200, "ok")
        assert (await get(session, port, "/healthz/", node.trust()))[0] == 401
        assert (await get(session, port, "/pods", node.trust()))[0] == 401


async def test_metrics_are_told_while_the_runtime_is_away(
    node: Node, session: aiohttp.ClientSession, runtime: MemoryRuntime, daemon: Any
) -> None:
    async with serving(node.api, node.settings(), []) as port:
        trusted = node.trust(node.authority)
        status, text = await get(session, port, "/metrics", trusted)
        assert (status, 'kubelet_running_containers{container_state="running"} 1\n' in text) == (200, True)
        assert '\nkubelet_node_name{node="n"} 1\n' in text
        await daemon.stop()
        status, text = await get(session, port, "/metrics", trusted)
        assert (status, "kubelet_running_pods" in text, "process_open_fds" in text) == (200, False, True)
        assert (await get(session, port, "/pods", trusted))[0] == 503
        assert "\nresource_scrape_error 1\n" in (await get(session, port, "/metrics/resource", trusted))[1]


async def test_probes_are_counted(
    node: Node, session: aiohttp.ClientSession, directory: Directory, until: Until
) -> None:
    directory.write("probed.yaml", PROBED)
    await until(lambda: is_ready(node, "default/probed"))
    async with serving(node.api, node.settings(), []) as port:
        status, text = await get(session, port, "/metrics/probes", node.trust(node.authority))
    labels = 'container="main",namespace="default",pod="probed",pod_uid="",probe_type="Readiness",result="successful"'
    counted = [line for line in text.splitlines() if line.startswith(f"prober_probe_total{{{labels}}} ")]
    assert (status, len(counted)) == (200, 1), text


PROBED = """\
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  containers:
  - {name: main, image: 'busybox:1', readinessProbe: {exec: {command: ['true']}}}
"""


def is_ready(node: Node, full_name: str) -> bool:
    worker = node.api.agent.workers.get(full_name)
    return worker is not None and bool(worker.board.ready)


async def test_clients_authorities_are_read_again(node: Node, session: aiohttp.ClientSession) -> None:
    other = Authority()
    async with serving(node.api, node.settings(), []) as port:
        assert (await get(session, port, "/healthz", node.trust(node.authority)))[0] == 200
        new = node.folder / "ca.new"
        new.write_bytes(other.pair.certificate)
        new.replace(node.folder / "ca.pem")
        assert (await get(session, port, "/healthz", node.trust(other)))[0] == 200
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await get(session, port, "/healthz", node.trust(node.authority))


async def test_a_container_that_waits_has_no_log_yet(
    node: Node, session: aiohttp.ClientSession, directory: Directory, until: Until
) -> None:
    directory.write("late.yaml", LATE)
    directory.write("early.yaml", EARLY)
    await until(lambda: waiting_for(node, "default/late", "main") and waiting_for(node, "default/early", "main"))
    async with serving(node.api, node.settings(), []) as port:
        trusted = node.trust(node.authority)
        status, text = await get(session, port, "/containerLogs/default/late/main", trusted)
        assert (status, text.partition(": ")[0]) == (400, 'container "main" in pod "late" is waiting to start')
        assert (await get(session, port, "/containerLogs/default/late/other", trusted))[0] == 404
        # Of this one there is not even a sandbox yet.
        status, text = await get(session, port, "/containerLogs/default/early/main", trusted)
        assert (status, text) == (400, 'container "main" in pod "early" is waiting to start: ContainerCreating\n')
        status, text = await get(session, port, "/containerLogs/default/early/other", trusted)
        assert (status, text) == (404, 'container "other" not found in pod "early"\n')
        upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
        for name, why in (("early", "has no sandbox: see its events"), ("none", "does not exist on this node")):
            url = f"https://127.0.0.1:{port}/exec/default/{name}/main?command=id&output=1"
            async with session.post(url, ssl=trusted, headers=upgrade) as response:
                told = await response.json()
            assert (told["kind"], told["code"], told["reason"]) == ("Status", 404, "NotFound")
            assert told["message"] == f'pod "{name}_default" {why}'
        status, text = await get(session, port, "/containerLogs/default/web/main?previous=true", trusted)
        assert (status, text) == (400, 'previous terminated container "main" in pod "web" not found\n')
        status, text = await get(session, port, "/containerLogs/default/web/main?follow=x&tailLines=-1", trusted)
        assert (status, text) == (400, "tailLines: '-1' is not a whole number from 0 on\n")


LATE = """\
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  containers:
  - {name: main, image: 'absent:1'}
"""


EARLY = """\
apiVersion: v1
kind: Pod
metadata: {name: early}
spec:
  containers:
  - {name: main, image: 'busybox:1'}
  volumes:
  - {name: v, configMap: {name: absent}}
"""


def waiting_for(node: Node, full_name: str, name: str) -> bool:
    worker = node.api.agent.workers.get(full_name)
    return worker is not None and name in worker.board.waiting


async def test_a_log_is_followed_while_somebody_reads_it_and_the_api_is_served(
    node: Node, session: aiohttp.ClientSession, until: Until
) -> None:
    (view,) = await node.api.engine.find("web", "default")
    log = view.containers[0].log_path
    assert log is not None
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("2026-01-02T03:04:05Z stdout F hello\n")
    async with serving(node.api, node.settings(), []) as port:
        url = f"https://127.0.0.1:{port}/containerLogs/default/web/main?follow=true"
        async with session.get(url, ssl=node.trust(node.authority)) as response:
            assert await response.content.readline() == b"hello\n"
            with log.open("a") as file:
                file.write("2026-01-02T03:04:06Z stdout F again\n")
            assert await response.content.readline() == b"again\n"
            assert is_open(log)
        await until(lambda: not is_open(log))
        response = await session.get(url, ssl=node.trust(node.authority))
        assert await response.content.readline() == b"hello\n"
    assert not is_open(log)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(response.read(), 20)


def is_open(path: Path) -> bool:
    return any(link.is_symlink() and link.readlink() == path for link in Path("/proc/self/fd").iterdir())


async def test_what_cannot_be_served_with_is_told_at_the_start(node: Node) -> None:
    absent = node.folder / "absent.pem"
    for settings, error, said in [
        (node.settings(certificate=absent, key=absent), ConfigError, "--tls-cert-file"),
        (node.settings(authorities=absent), ConfigError, "clients' authorities"),
    ]:
        with pytest.raises(error, match=said):
            async with serving(node.api, settings, []):
                raise AssertionError("it serves")
    async with serving(node.api, node.settings(), []) as port:
        with pytest.raises(FailedPrecondition, match=f"127.0.0.1 port {port}"):
            async with serving(node.api, node.settings(port=port), []):
                raise AssertionError("it serves")
