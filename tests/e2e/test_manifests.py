"""The same manifests on both runtimes, all at once by one agent each, end in the same statuses.

Each file in ``manifests`` shows one thing. Its annotation ``expect`` has the phase, then a word for each container:
NAME:REASON, or NAME:REASON/EXIT-CODE of one that has ended; "ended:REASON/EXIT-CODE" is how main ended before, "xN" how
often main was started again at least (never with x0), "ready" or "unready" the Pod's condition, "says:TEXT" main's
last words, "because:REASON" the Pod's own reason.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.health import NOT_SERVING, SERVING, serving
from tests.support.images import Images
from tests.support.node import Node, conditions, word
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Server

MANIFESTS = sorted((Path(__file__).parent / "manifests").glob("*.yaml"))
LIMIT = 120 * PATIENCE
DIFFERENT: dict[str, dict[str, str]] = {"containerd": {}}
"""What a runtime makes of a Pod otherwise than its manifest expects."""


@pytest.fixture
async def node(kit: Kit, server: Server) -> AsyncIterator[Node]:
    node = Node(server, kit.folder)
    yield node
    await node.close(kit.client)


@pytest.fixture
def shared(kit: Kit) -> Iterator[None]:
    """A directory whose mounts come through to containers and out of them."""
    path = kit.folder / "shared"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    yield
    subprocess.run(["umount", "--recursive", path], check=True)


@pytest.fixture
async def health() -> AsyncIterator[int]:
    """The port of a gRPC server whose service "good" serves."""

    async def answer(question: bytes) -> bytes:
        return SERVING if question.endswith(b"good") else NOT_SERVING

    async with serving(answer, "0.0.0.0") as port:
        yield port


@pytest.mark.usefixtures("shared")
async def test_all_manifests_end_as_they_expect(
    node: Node, kit: Kit, server: Server, images: Images, health: int
) -> None:
    assert len(MANIFESTS) >= 40
    places = {
        "IMAGE": images.busybox,
        "CONFIGURED": images.configured,
        "MISSING": f"{images.registry}/no-such-image:1",
        "FOLDER": str(kit.folder),
        "HOSTPORT": str(free_port()),
        "HEALTH": str(health),
        **{kind.upper(): str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "ipc", "pid")},
    }
    for path in MANIFESTS:
        text = path.read_text()
        for place, value in places.items():
            text = re.sub(rf"\b{place}\b", value, text)
        (node.manifests / path.name).write_text(text)
    await kit.client.images.pull_image(images.configured)
    node.start()
    waited_for = {path.stem for path in MANIFESTS}
    found: dict[str, str] = {}
    deadline = time.monotonic() + LIMIT
    while waited_for and time.monotonic() < deadline:
        pods = await pods_of(node)
        for name in waited_for & pods.keys():
            expected = expectation(pods[name], server.name)
            found[name] = shown(pods[name], expected)
            if found[name] == expected:
                waited_for = waited_for - {name}
        await asyncio.sleep(0.5)
    assert {name: found.get(name) for name in waited_for} == {}, node.log.read_text()[-10000:]
    # What has come to an end stays so.
    for name, pod in (await pods_of(node)).items():
        if found[name].startswith(("Succeeded", "Failed")):
            assert shown(pod, expectation(pod, server.name)) == found[name]


async def pods_of(node: Node) -> dict[str, dict[str, Any]]:
    try:
        return await node.pods()
    except aiohttp.ClientConnectorError:
        return {}  # it has just been started


def expectation(pod: dict[str, Any], runtime: str) -> str:
    name = pod["metadata"]["name"]
    return DIFFERENT.get(runtime, {}).get(name, pod["metadata"]["annotations"]["expect"])


def shown(pod: dict[str, Any], expected: str) -> str:
    """What a Pod's status says to each word of an expectation."""
    status = pod["status"]
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    containers = {one["name"]: one for kind in kinds for one in status.get(kind, [])}
    return " ".join([status["phase"], *(_word(pod, containers, given) for given in expected.split()[1:])])


def _word(pod: dict[str, Any], containers: dict[str, Any], given: str) -> str:
    name, colon, _ = given.partition(":")
    main = containers["main"]
    if given in ("ready", "unready"):
        return "ready" if conditions(pod)["Ready"] == "True" else "unready"
    if not colon:
        enough = main["restartCount"] == 0 if given == "x0" else main["restartCount"] >= int(given[1:])
        return given if enough else f"x{main['restartCount']}"
    if name == "says":
        return f"says:{_terminated(main).get('message', '')}"
    if name == "because":
        return f"because:{pod['status'].get('reason')}"
    if name == "ended":
        return f"ended:{_end(main['lastState'].get('terminated', {}))}"
    ended = containers[name]["state"].get("terminated")
    return f"{name}:{_end(ended) if ended else word(containers[name])}"


def _terminated(status: dict[str, Any]) -> dict[str, Any]:
    return dict(status["state"].get("terminated", {}))


def _end(terminated: dict[str, Any]) -> str:
    return f"{terminated.get('reason')}/{terminated.get('exitCode')}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
