"""A node of a cluster on both runtimes: its API server is the tests' own, its containers are real."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.door import Door
from tests.support.images import Images
from tests.support.kube import ApiServer, serving
from tests.support.kube.certificates import Authority
from tests.support.node import WAIT_LIMIT, Node
from tests.support.pods import Kit
from tests.support.servers import Server

OWN = """
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: %s, command: [sleep, "1000"]}
"""
SHOW = "cat /conf/greeting; cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo $NODE $SECRET"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """An API server that lets nobody in without a certificate; config in ``tmp_path`` is the node's way to it."""
    authority = Authority()
    tls = authority.server_side(authority.issue("server", ip="127.0.0.1"), tmp_path)
    async with serving(ApiServer(), tls=tls) as server:
        mine = authority.issue("system:node:n")
        named = {
            "certificate-authority-data": authority.pair.certificate,
            "client-certificate-data": mine.certificate,
            "client-key-data": mine.key,
        }
        encoded = {key: base64.b64encode(value).decode() for key, value in named.items()}
        trust = {"server": server.url, "certificate-authority-data": encoded.pop("certificate-authority-data")}
        config = {
            "clusters": [{"name": "c", "cluster": trust}],
            "users": [{"name": "u", "user": encoded}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(config))
        yield server


@pytest.fixture
async def door(server: Server, kit: Kit) -> AsyncIterator[Door]:
    """The runtime's socket for the agent."""
    door = Door(kit.folder / "door.sock", server.socket)
    await door.open()
    yield door
    await door.close()


@pytest.fixture
async def node(kit: Kit, door: Door, cluster: ApiServer, tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(door, kit.folder)
    yield node
    for key in [key for key in cluster.store.objects if key[0] == "pods"]:
        cluster.store.remove(key)
    await node.close(kit.client)


def status(cluster: ApiServer, name: str) -> dict[str, Any]:
    """A Pod's status; {} when it is gone."""
    return dict(cluster.get("pods", name, "default").get("status", {})) if cluster.has("pods", name, "default") else {}


def ready(found: dict[str, Any]) -> str:
    """The status of a Ready condition; "" without one."""
    return next((one["status"] for one in found.get("conditions") or () if one["type"] == "Ready"), "")


def node_ready(cluster: ApiServer) -> str:
    return ready(cluster.get("nodes", "n").get("status", {})) if cluster.has("nodes", "n") else ""


def container_id(cluster: ApiServer, name: str) -> str:
    (container,) = status(cluster, name)["containerStatuses"]
    return str(container["containerID"]).partition("://")[2]


def events(cluster: ApiServer, name: str) -> set[str]:
    """The reasons of the events of a Pod, or of the node."""
    found = [one for key, one in cluster.store.objects.items() if key[0] == "events"]
    return {one["reason"] for one in found if one["involvedObject"]["name"] == name}


async def until(node: Node, cluster: ApiServer, what: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(WAIT_LIMIT):
            while not what():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pods = [found for key, found in cluster.store.objects.items() if key[0] in ("pods", "nodes")]
        raise AssertionError(f"{json.dumps(pods, indent=1)[-6000:]}\n{node.log.read_text()[-6000:]}") from None


async def test_a_node_through_its_life(
    node: Node, cluster: ApiServer, door: Door, kit: Kit, images: Images, tmp_path: Path
) -> None:
    sleep: dict[str, Any] = {"name": "main", "image": images.busybox, "command": ["sleep", "1000"]}

    def bind(name: str, **spec: Any) -> None:
        spec = {"nodeName": "n", "terminationGracePeriodSeconds": 1, "containers": [sleep], **spec}
        cluster.add("pods", name, "default", metadata={"generateName": f"{name}-"}, spec=spec)

    cluster.add("serviceaccounts", "default", "default")
    cluster.add("configmaps", "conf", "default", data={"greeting": "hello "})
    cluster.add("secrets", "s", "default", type="Opaque", data={"key": base64.b64encode(b"secret").decode()})
    bind(
        "web",
        volumes=[
            {"name": "conf", "configMap": {"name": "conf", "defaultMode": 420}},
            {
                "name": "kube-api-access",
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}],
                },
            },
        ],
        containers=[
            {
                **sleep,
                "env": [
                    {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
                    {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                ],
                "volumeMounts": [
                    {"name": "conf", "mountPath": "/conf"},
                    {
                        "name": "kube-api-access",
                        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                        "readOnly": True,
                    },
                ],
                "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 5},
            }
        ],
    )
    bind("old")
    node.write("own", OWN % images.busybox)
    options = ("--kubeconfig", str(tmp_path / "config"), "--node-name", "n", "--node-labels", "disk=fast")
    options += ("--cluster-dns", "10.96.0.10", "--cluster-domain", "cluster.local", "--port", "0")
    node.start(*options, "--register-with-taints", "dedicated=ci:NoSchedule")

    await until(node, cluster, lambda: node_ready(cluster) == "True")
    registered = cluster.get("nodes", "n")
    assert registered["metadata"]["labels"]["disk"] == "fast"
    assert registered["spec"]["taints"] == [{"key": "dedicated", "value": "ci", "effect": "NoSchedule"}]
    version = await kit.client.runtime.version()
    runtime = f"{version.runtime_name}://{version.runtime_version}"
    assert registered["status"]["nodeInfo"]["containerRuntimeVersion"] == runtime
    names = ("web", "old", "own-n")
    await until(node, cluster, lambda: all(ready(status(cluster, name)) == "True" for name in names))
    await until(node, cluster, lambda: {"Created", "Started"} <= events(cluster, "web"))
    await until(node, cluster, lambda: {"Starting", "NodeReady"} <= events(cluster, "n"))
    web = status(cluster, "web")
    assert (web["phase"], web["podIP"] != "") == ("Running", True)
    assert web["containerStatuses"][0]["containerID"].startswith(f"{version.runtime_name}://")
    assert cluster.get("pods", "own-n", "default")["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    seen = await kit.exec(container_id(cluster, "web"), "sh", "-c", SHOW)
    assert seen.startswith("hello header."), seen
    assert seen.endswith("n secret\n"), seen
    resolver = await kit.exec(container_id(cluster, "web"), "cat", "/etc/resolv.conf")
    assert "nameserver 10.96.0.10\n" in resolver
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in resolver

    # What befalls the connection is survived: watches are cut, versions forgotten, requests refused and throttled.
    cluster.bookmarks = 60
    cluster.cut()
    cluster.refuse("WATCH pods", 429, "TooManyRequests", headers={"Retry-After": "0"})
    cluster.refuse("PATCH pods/status", 409, "Conflict")
    cluster.refuse("PATCH pods/status", 429, "TooManyRequests", headers={"Retry-After": "0"})
    bind("late")
    cluster.store.compact()
    await until(node, cluster, lambda: ready(status(cluster, "late")) == "True" and not cluster.faults)
    renewed = cluster.get("leases", "n", "kube-node-lease")["spec"]["renewTime"]

    # The runtime goes: the node says so, and its Pods are left alone. It comes back: they are what they were.
    before = {name: container_id(cluster, name) for name in ("web", "own-n", "late")}
    await door.close()
    await until(node, cluster, lambda: node_ready(cluster) == "False")
    told = {one["type"]: one for one in cluster.get("nodes", "n")["status"]["conditions"]}
    assert str(door.path) in told["Ready"]["message"]
    await door.open()
    await until(node, cluster, lambda: node_ready(cluster) == "True")

    # The agent is killed. What was deleted meanwhile ends when it is back; all else goes on unchanged.
    node.kill()
    cluster.delete("pods", "old", "default")
    node.start(*options)
    await until(node, cluster, lambda: not cluster.has("pods", "old", "default"))
    assert {name: container_id(cluster, name) for name in before} == before
    await until(node, cluster, lambda: cluster.get("leases", "n", "kube-node-lease")["spec"]["renewTime"] > renewed)
    changes = cluster.store.since(cluster.store.oldest)
    *_, last = [change.found["status"] for change in changes if change.key == ("pods", "default", "old")]
    assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    node.remove("own")
    await until(node, cluster, lambda: not cluster.has("pods", "own-n", "default"))
    left = sorted(sandbox.metadata.name for sandbox in await kit.client.runtime.list_pod_sandbox())
    assert left == ["late", "web"]
