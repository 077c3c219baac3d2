"""The node agent on both runtimes: a directory of manifests, followed through changes and the agent's own death."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Server

WAIT_LIMIT = 30 * PATIENCE
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
"""
WEB = """
  volumes: [{{name: pages, emptyDir: {{}}}}]
  initContainers:
  - name: first
    image: {image}
    command: [sh, -c, "echo hello > /pages/index.html"]
    volumeMounts: [{{name: pages, mountPath: /pages}}]
  containers:
  - name: web
    image: {image}
    command: [httpd, -f, -p, "8080", -h, /pages]
    ports: [{{containerPort: 8080, name: http}}]
    volumeMounts: [{{name: pages, mountPath: /pages}}]
    startupProbe: {{tcpSocket: {{port: http}}, periodSeconds: 1}}
    readinessProbe: {{httpGet: {{port: http, path: /index.html}}, periodSeconds: 1}}
    lifecycle: {{postStart: {{exec: {{command: [touch, /started]}}}}}}
"""
SICK = """
  containers:
  - name: main
    image: {image}
    command: [sleep, "1000"]
    livenessProbe:
      exec: {{command: [sh, -c, "exit 3"]}}
      periodSeconds: 1
      failureThreshold: 2
"""
DONE = """
  restartPolicy: Never
  containers:
  - {{name: main, image: {image}, command: [sh, -c, "echo bye > /dev/termination-log"]}}
"""
CRASHING = """
  containers:
  - {{name: main, image: {image}, command: [sh, -c, "exit 4"]}}
  - {{name: other, image: {image}, command: [sleep, "1000"]}}
"""
MISSING = """
  containers:
  - {{name: main, image: "{missing}"}}
  - {{name: other, image: {image}, command: [sleep, "1000"]}}
"""
PODS = {"web": WEB, "sick": SICK, "done": DONE, "crashing": CRASHING, "missing": MISSING}


class Node:
    """podyard node as a process on one endpoint."""

    def __init__(self, server: Server, folder: Path, images: Images) -> None:
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        self.log = folder / "node.log"
        self._server = server
        self._folder = folder
        self._images = images
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, spec: str) -> None:
        """Rename a manifest into place."""
        missing = f"{self._images.registry}/no-such-image:1"
        text = POD.format(name=name) + spec.format(image=self._images.busybox, missing=missing)
        temporary = self.manifests / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.manifests / f"{name}.yaml")

    def start(self, *more: str) -> None:
        argv = [sys.executable, "-m", "podyard", "node", "--pod-manifest-path", str(self.manifests)]
        argv += ["--container-runtime-endpoint", self._server.endpoint, "--log-level", "debug", *more]
        environment = {
            **os.environ,
            "PODYARD_POD_ROOT": str(self._folder / "pods"),
            "PODYARD_LOG_ROOT": str(self._folder / "logs"),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment, cwd="/")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=20 * PATIENCE)

    async def get(self, path: str) -> tuple[int, str]:
        """What the node's API answers."""
        connector = aiohttp.UnixConnector(str(self._folder / "node.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://node{path}") as response,
        ):
            return response.status, await response.text()

    async def pods(self) -> dict[str, dict[str, Any]]:
        """The Pods by name."""
        status, text = await self.get("/pods")
        assert status == 200, text
        return {pod["metadata"]["name"]: pod for pod in json.loads(text)["items"]}

    async def until(self, what: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        """Wait until the Pods are as wanted."""
        deadline = time.monotonic() + WAIT_LIMIT
        pods: dict[str, dict[str, Any]] = {}
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-5000:]
            try:
                pods = await self.pods()
            except aiohttp.ClientConnectorError:
                pods = {}  # it has just been started
            if pods and what(pods):
                return pods
            await asyncio.sleep(0.2)
        raise AssertionError(f"{json.dumps(pods, indent=1)[-6000:]}\n{self.log.read_text()[-6000:]}")


@pytest.fixture
async def node(kit: Kit, server: Server, images: Images) -> AsyncIterator[Node]:
    node = Node(server, kit.folder, images)
    yield node
    for path in node.manifests.iterdir():
        path.unlink()
    deadline = time.monotonic() + WAIT_LIMIT
    while await kit.client.runtime.list_pod_sandbox() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    assert node.terminate() == 0
    assert not await kit.client.runtime.list_pod_sandbox(), node.log.read_text()[-6000:]


def conditions(pod: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in pod["status"]["conditions"]}


def container(pod: dict[str, Any], name: str = "main") -> dict[str, Any]:
    (found,) = [one for one in pod["status"]["containerStatuses"] if one["name"] == name]
    return dict(found)


def reason(pod: dict[str, Any], name: str = "main") -> str:
    """The one word that kubectl shows of a container."""
    ((state, more),) = container(pod, name)["state"].items()
    return more.get("reason", "") if state != "running" else "Running"


def ids(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The ids of the containers that do not end by themselves."""
    return {
        f"{name}/{one['name']}": one["containerID"]
        for name, pod in pods.items()
        for one in pod["status"]["containerStatuses"]
        if name in ("web", "done") or one["name"] == "other"
    }


async def test_a_directory_of_manifests_through_changes_and_the_agents_death(node: Node, kit: Kit) -> None:
    for name, spec in PODS.items():
        node.write(name, spec)
    (node.manifests / "broken.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: broken}\nspec: {contaners: []}\n"
    )
    node.start()
    pods = await node.until(
        lambda pods: (
            pods.keys() == PODS.keys()
            and conditions(pods["web"])["Ready"] == "True"
            and container(pods["sick"])["restartCount"] >= 1
            and pods["done"]["status"]["phase"] == "Succeeded"
            and reason(pods["crashing"]) == "CrashLoopBackOff"
            and reason(pods["missing"]) == "ImagePullBackOff"
            and reason(pods["missing"], "other") == "Running"
        )
    )
    assert (await node.get("/healthz"), await node.get("/readyz")) == ((200, "ok"), (200, "ok"))
    assert "broken.yaml:4: spec.contaners: unknown field, did you mean containers?" in node.log.read_text()
    assert (kit.folder / "node.sock").stat().st_mode & 0o777 == 0o600
    web = pods["web"]["status"]
    assert (web["phase"], web["podIP"] != "") == ("Running", True)
    assert web["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    await kit.exec(container(pods["web"], "web")["containerID"], "ls", "/started")
    assert container(pods["done"])["state"]["terminated"]["message"] == "bye"
    assert pods["missing"]["status"]["phase"] == "Pending"
    assert container(pods["crashing"])["lastState"]["terminated"]["exitCode"] == 4

    # Killed and started again, the agent finds all of them; none is started again for it.
    before = ids(pods)
    node.kill()
    (node.manifests / "missing.yaml").unlink()
    node.start()
    pods = await node.until(
        lambda pods: "missing" not in pods and conditions(pods["web"])["Ready"] == "True" and len(pods) == 4
    )
    assert ids(pods) == {name: found for name, found in before.items() if not name.startswith("missing")}
    assert pods["done"]["status"]["phase"] == "Succeeded"
    await gone(kit, "missing")

    # What is not ready any more is told, and only that; a changed manifest replaces its Pod, a removed one removes it.
    web_id = container(pods["web"], "web")["containerID"]
    await kit.exec(web_id, "mv", "/pages/index.html", "/pages/other.html")
    pods = await node.until(lambda pods: conditions(pods["web"])["Ready"] == "False")
    assert (container(pods["web"], "web")["containerID"], reason(pods["web"], "web")) == (web_id, "Running")
    (node.manifests / "sick.yaml").unlink()
    node.write("crashing", CRASHING.replace("exit 4", "sleep 1000"))
    pods = await node.until(
        lambda pods: (
            "sick" not in pods
            and container(pods["crashing"])["restartCount"] == 0
            and {reason(pods["crashing"], name) for name in ("main", "other")} == {"Running"}
        )
    )
    assert container(pods["crashing"], "other")["containerID"] != before["crashing/other"]
    await gone(kit, "sick")
    sandboxes = await kit.client.runtime.list_pod_sandbox()
    assert sorted(sandbox.metadata.name for sandbox in sandboxes) == ["crashing", "done", "web"]


async def gone(kit: Kit, name: str) -> None:
    """Wait until no sandbox of a Pod is left."""
    async with asyncio.timeout(WAIT_LIMIT):
        while name in [sandbox.metadata.name for sandbox in await kit.client.runtime.list_pod_sandbox()]:
            await asyncio.sleep(0.1)
