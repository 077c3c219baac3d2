"""The node agent on both runtimes: a directory of manifests, followed through changes and the agent's own death."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import Images
from tests.support.node import WAIT_LIMIT, Node, conditions, container, reason
from tests.support.pods import Kit
from tests.support.servers import Server

from podyard.cri import api

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


@pytest.fixture
async def node(kit: Kit, server: Server) -> AsyncIterator[Node]:
    node = Node(server, kit.folder)
    yield node
    await node.close(kit.client)


def manifest(name: str, spec: str, images: Images) -> str:
    return POD.format(name=name) + spec.format(image=images.busybox, missing=f"{images.registry}/no-such-image:1")


def ids(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The ids of the containers that do not end by themselves."""
    return {
        f"{name}/{one['name']}": one["containerID"]
        for name, pod in pods.items()
        for one in pod["status"]["containerStatuses"]
        if name in ("web", "done") or one["name"] == "other"
    }


async def test_a_directory_of_manifests_through_changes_and_the_agents_death(
    node: Node, kit: Kit, images: Images
) -> None:
    for name, spec in PODS.items():
        node.write(name, manifest(name, spec, images))
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
    node.remove("missing")
    node.start()
    pods = await node.until(
        lambda pods: "missing" not in pods and conditions(pods["web"])["Ready"] == "True" and len(pods) == 4
    )
    assert ids(pods) == {name: found for name, found in before.items() if not name.startswith("missing")}
    assert pods["done"]["status"]["phase"] == "Succeeded"
    await gone(kit, "missing")

    # What is not ready any more is told, and only that; a changed manifest replaces its Pod, a removed one removes it.
    web_id, web_uid = container(pods["web"], "web")["containerID"], pods["web"]["metadata"]["uid"]
    await kit.exec(web_id, "mv", "/pages/index.html", "/pages/other.html")
    pods = await node.until(lambda pods: conditions(pods["web"])["Ready"] == "False")
    assert (container(pods["web"], "web")["containerID"], reason(pods["web"], "web")) == (web_id, "Running")

    # The next sandbox of a Pod has its volumes and its logs, and counts on; whoever lost it may have been a reboot.
    (lost,) = [one.id for one in await kit.client.runtime.list_pod_sandbox() if one.metadata.name == "web"]
    log = (await kit.client.runtime.container_status(web_id)).status.log_path
    await kit.client.runtime.stop_pod_sandbox(lost)
    pods = await node.until(lambda pods: conditions(pods["web"])["Ready"] == "True")
    assert container(pods["web"], "web")["restartCount"] == 1
    assert pods["web"]["metadata"]["uid"] == web_uid
    web_id = container(pods["web"], "web")["containerID"]
    assert (await kit.exec(web_id, "ls", "/pages")).split() == ["index.html", "other.html"]
    assert Path(log).exists()

    node.remove("sick")
    node.write("crashing", manifest("crashing", CRASHING.replace("exit 4", "sleep 1000"), images))
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
    ready = [one.metadata.name for one in sandboxes if one.state == api.SANDBOX_READY]
    assert sorted(ready) == ["crashing", "web"]
    assert {one.metadata.name for one in sandboxes} == {"crashing", "done", "web"}


async def gone(kit: Kit, name: str) -> None:
    """Wait until no sandbox of a Pod is left."""
    async with asyncio.timeout(WAIT_LIMIT):
        while name in [sandbox.metadata.name for sandbox in await kit.client.runtime.list_pod_sandbox()]:
            await asyncio.sleep(0.1)
