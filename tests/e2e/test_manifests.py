"""The same manifests on both runtimes, all at once by one agent each, end in the same statuses.

Each file in ``manifests`` shows one thing; a file of its name in ``manifests/changed`` takes its place later. The
annotation ``expect`` says what comes of it, ``then`` what comes of the change: the phase, then a word for each
container: NAME:REASON, or NAME:REASON/EXIT-CODE of one that has ended; "ended:REASON/EXIT-CODE" is how main ended
before, "xN" how often main was started again at least (never with x0), "ready" or "unready" the Pod's condition,
"says:TEXT" main's last words, "because:REASON" the Pod's own reason.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.support.health import NOT_SERVING, SERVING, serving
from tests.support.images import Images
from tests.support.kube.certificates import Authority
from tests.support.node import Node, conditions, word
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Server

MANIFESTS = Path(__file__).parent / "manifests"
CLUSTER = ("--cluster-dns", "192.0.2.10", "--cluster-domain", "cluster.test")
LIMIT = 300 * PATIENCE
DIFFERENT: dict[str, dict[str, str]] = {
    "podyard": {},
    "containerd": {  # 1.6 does not have these, and the agent says so, or containerd itself
        "mount-recursive": "Pending main:CreateContainerConfigError",
        "security-groups": "Pending main:ContainerCreating because:FailedToStart",
        "stop-signal": "Pending main:CreateContainerError",
        "volume-image": "Pending main:CreateContainerError",
    },
}
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


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[int]:
    """The port of a web server over TLS for whoever sends a header."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("X-Token") == "hello" else 403)

    authority = Authority()
    tls = authority.server_side(authority.issue("server", ip="127.0.0.1"), tmp_path)
    tls.verify_mode = ssl.CERT_NONE
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.usefixtures("shared")
async def test_all_manifests_end_as_they_expect(
    node: Node, kit: Kit, server: Server, images: Images, health: int, secure: int
) -> None:
    places = {
        "IMAGE": images.busybox,
        "SMALL": images.small,
        "CONFIGURED": images.configured,
        "MISSING": f"{images.registry}/no-such-image:1",
        "FOLDER": str(kit.folder),
        "HOSTPORT": str(free_port(socket.SOCK_STREAM)),
        "UDPPORT": str(free_port(socket.SOCK_DGRAM)),
        "HEALTH": str(health),
        "SECURE": str(secure),
        **{kind.upper(): str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "ipc", "pid")},
    }
    os.mknod(kit.folder / "block", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    await kit.client.images.pull_image(images.configured)
    names = write(node, MANIFESTS, places)
    assert len(names) >= 40
    node.start(*CLUSTER)
    found = await until_as_expected(node, names, server.name)
    changed = write(node, MANIFESTS / "changed", places)
    await until_as_expected(node, changed, server.name, "then")
    # What has come to an end stays so.
    for name, pod in (await pods_of(node)).items():
        if name not in changed and found[name].startswith(("Succeeded", "Failed")):
            assert shown(pod, expectation(pod, server.name)) == found[name]


def write(node: Node, folder: Path, places: Mapping[str, str]) -> set[str]:
    """Give the agent a folder's manifests, with what is known only now in its places; the names of their Pods."""
    paths = list(folder.glob("*.yaml"))
    for path in paths:
        text = path.read_text()
        for place, value in places.items():
            text = re.sub(rf"\b{place}\b", value, text)
        node.write(path.stem, text)
    return {path.stem for path in paths}


async def until_as_expected(node: Node, names: set[str], runtime: str, when: str = "expect") -> dict[str, str]:
    """Wait until the Pods of those names are what an annotation of theirs says; what they are."""
    found: dict[str, str] = {}
    deadline = time.monotonic() + LIMIT
    waited_for = set(names)
    while waited_for and time.monotonic() < deadline:
        pods = await pods_of(node)
        for name in waited_for & pods.keys():
            expected = expectation(pods[name], runtime, when)
            found[name] = shown(pods[name], expected)
            if found[name] == expected:
                waited_for = waited_for - {name}
        await asyncio.sleep(0.5)
    unmet = {name: found.get(name) for name in sorted(waited_for)}
    assert not unmet, f"{unmet}\n{node.log.read_text()[-10000:]}"
    return found


async def pods_of(node: Node) -> dict[str, dict[str, Any]]:
    try:
        return await node.pods()
    except aiohttp.ClientConnectorError:
        return {}  # it has just been started


def expectation(pod: dict[str, Any], runtime: str, when: str = "expect") -> str:
    name = pod["metadata"]["name"]
    return str(DIFFERENT[runtime].get(name) or pod["metadata"]["annotations"][when])


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


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
