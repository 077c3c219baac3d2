"""A node that runs out of memory, of room for images and for logs, as its thresholds have it, on both runtimes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import Images
from tests.support.node import WAIT_LIMIT, Node, conditions, container
from tests.support.pods import Kit
from tests.support.servers import Server

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  priorityClassName: "{priority}"
  containers:
  - name: main
    image: {image}
    command:
    - sh
    - -c
    - |
      dd if=/dev/zero of=/dev/shm/held bs=1M count=8 && touch /full
      while :; do head -c 3000 /dev/zero | tr "\\0" x; echo; sleep 0.2; done
    # Not one that goes on: beside one, under load, a stop by Debian's containerd once hung.
    startupProbe: {{exec: {{command: [test, -f, /full]}}, periodSeconds: 1, failureThreshold: 60}}
    resources: {{requests: {{{request}}}}}
"""
PODS = {
    "modest": ("", "memory: 64Mi"),
    "greedy": ("", "memory: 1Mi"),
    "critical": ("system-node-critical", "memory: 1Mi"),
}
SHORT = ["--eviction-hard", "memory.available<1000Ti", "--housekeeping-interval", "1s"]
LONG = ["--container-log-max-size", "4Ki", "--container-log-max-files", "3"]
FULL = ["--image-gc-high-threshold", "1", "--image-gc-low-threshold", "0", "--minimum-image-ttl-duration", "0"]


@pytest.fixture
async def node(kit: Kit, server: Server) -> AsyncIterator[Node]:
    node = Node(server, kit.folder)
    yield node
    await node.close(kit.client)


def write(node: Node, images: Images, name: str, priority: str = "", request: str = "") -> None:
    node.write(name, POD.format(name=name, image=images.busybox, priority=priority, request=request))


async def test_pods_are_evicted_in_their_order_and_unused_images_are_removed(
    node: Node, kit: Kit, images: Images
) -> None:
    for name, (priority, request) in PODS.items():
        write(node, images, name, priority, request)
    node.start()
    pods = await node.until(
        lambda pods: pods.keys() == PODS.keys() and all(conditions(pod)["Ready"] == "True" for pod in pods.values())
    )
    critical = container(pods["critical"])["containerID"]
    node.kill()
    await kit.client.images.pull_image(images.small)

    # The next agent finds the machine short of memory, and the images' disk too full, for ever, and a log too long.
    node.start(*SHORT, *FULL, *LONG, "--pod-infra-container-image", images.pause)
    pods = await node.until(
        lambda pods: phases(pods) == {"modest": "Failed", "greedy": "Failed", "critical": "Running"}
    )
    assert re.findall(r"evicting pod default/(\w+)", node.log.read_text()) == ["greedy", "modest"]
    status = pods["greedy"]["status"]
    assert status["reason"] == "Evicted"
    assert re.fullmatch(
        r"The node was low on resource: memory\. Threshold quantity: 1000Ti, available: [0-9]+[KMG]i\. "
        r"Container main was using [0-9]+[KM]?i?, request is 1Mi, has larger consumption of memory\. ",
        status["message"],
    )
    assert conditions(pods["greedy"])["DisruptionTarget"] == "True"
    assert "terminated" in container(pods["greedy"])["state"]
    assert container(pods["critical"])["containerID"] == critical
    async with asyncio.timeout(WAIT_LIMIT):
        while (await kit.client.images.image_status(images.small)).image.id:
            await asyncio.sleep(0.1)
    assert (await kit.client.images.image_status(images.busybox)).image.id

    # A log goes on in a new file, and what is older than the last one is compressed.
    (logs,) = kit.folder.glob("logs/default_critical_*/main")
    async with asyncio.timeout(WAIT_LIMIT):
        while not list(logs.glob("*.gz")) or not is_written(logs / "0.log"):
            await asyncio.sleep(0.1)

    # What it would have to end next is not started.
    write(node, images, "late")
    pods = await node.until(lambda pods: "late" in pods and pods["late"]["status"].get("reason") == "Evicted")
    assert pods["late"]["status"]["message"] == "The node had condition: [MemoryPressure]. "


def is_written(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False  # it has just been renamed


def phases(pods: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: pod["status"]["phase"] for name, pod in pods.items()}
