"""The contract of the connection, against real runtimes that serve any versions of each service, and against none.

A row of ``ROWS`` says what listens on the endpoint and what whoever connects there makes of it: a client speaks these
versions, or ``podyard node`` ends. The last test is about restarts of the runtime after versions were chosen.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.kube import ApiServer, serving
from tests.support.node import WAIT_LIMIT, Node
from tests.support.servers import START_LIMIT, Podyard

from podyard import node
from podyard.client import Client
from podyard.client.client import PATIENCE
from podyard.cri import services
from podyard.errors import EndpointError, PodyardError
from podyard.node import watch
from podyard.node.cluster.node_object import Settings

NEW, OLD = ["v1"], ["v1alpha2"]
BOTH = [*NEW, *OLD]


@dataclass(frozen=True)
class Row:
    """``listens``: "containerd", "absent", "stale", "mute", or podyard's settings. ``versions`` may be spoken.

    ``chosen``: the versions that are spoken then, of the runtime service and of the image service. None: none can be,
    and ``says`` is what is said of it; {} stands for the endpoint.
    """

    listens: str | dict[str, list[str]]
    chosen: tuple[str, str] | None = None
    says: tuple[str, ...] = ()
    versions: tuple[str, ...] = services.VERSIONS


def lacking(service: str, *versions: str) -> tuple[str, ...]:
    """What is said of a service that is there in no version."""
    return (f"no usable {service} on {{}}; tried", *(f"runtime.{one}.{service}: UNIMPLEMENTED: " for one in versions))


UNUSABLE = "no usable RuntimeService on {}; tried runtime.v1.RuntimeService: "
ROWS = {
    "mute": Row("mute", says=(UNUSABLE + "DEADLINE_EXCEEDED", "did not answer Version within ")),
    "absent": Row("absent", says=(UNUSABLE + "UNAVAILABLE", "no such socket")),
    "stale": Row("stale", says=(UNUSABLE + "UNAVAILABLE", "nobody listens on the socket")),
    "containerd": Row("containerd", ("v1", "v1")),
    "containerd in v1alpha2": Row("containerd", ("v1alpha2", "v1alpha2"), versions=("v1alpha2",)),
    "v1 alone": Row({"versions": NEW, "image_versions": NEW}, ("v1", "v1")),
    "both": Row({"versions": BOTH, "image_versions": BOTH}, ("v1", "v1")),
    "images in v1alpha2 alone": Row({"versions": BOTH, "image_versions": OLD}, ("v1", "v1alpha2")),
    "v1alpha2 alone": Row({"versions": OLD, "image_versions": OLD}, ("v1alpha2", "v1alpha2")),
    "v1alpha2 alone, and v1 alone may be spoken": Row(
        {"versions": OLD, "image_versions": OLD}, says=lacking("RuntimeService", *NEW), versions=("v1",)
    ),
    "neither": Row({"versions": [], "image_versions": []}, says=lacking("RuntimeService", *BOTH)),
    "no image service": Row({"versions": BOTH, "image_versions": []}, says=lacking("ImageService", *BOTH)),
}


@dataclass(frozen=True)
class Place:
    """An endpoint, as ``Node`` wants it."""

    endpoint: str


class Attempt:
    """``podyard node`` on an endpoint, as a process. Its API server is a socket that would remember a caller."""

    def __init__(self, endpoint: str, folder: Path, versions: tuple[str, ...] = services.VERSIONS) -> None:
        self.endpoint = endpoint
        self._cluster = socket.create_server(("127.0.0.1", 0))
        self._cluster.setblocking(False)
        self.folder = folder
        self.node = Node(Place(endpoint), folder)
        url = f"http://127.0.0.1:{self._cluster.getsockname()[1]}"
        options = ("--kubeconfig", str(kubeconfig(folder, url)), "--node-name", "n", "--port", "0")
        self.node.start("--versions", ",".join(versions), *options)

    @property
    def called(self) -> bool:
        """Whether it has dialled its API server."""
        try:
            self._cluster.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    async def ended(self) -> int:
        """Its exit code, once it has one."""
        async with asyncio.timeout(WAIT_LIMIT):
            while (code := self.node.poll()) is None:
                await asyncio.sleep(0.02)
        return code

    def close(self) -> None:
        self.node.kill()
        self._cluster.close()


@pytest.fixture(scope="module", autouse=True)
def mute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempt]:
    """An attempt on a socket that accepts and never answers: begun before all else, since it takes its time."""
    folder = tmp_path_factory.mktemp("mute")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "x.sock"))
        listener.listen()
        attempt = Attempt(f"unix://{folder}/x.sock", folder)
        yield attempt
        attempt.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """podyard, to be started with any versions."""
    server = Podyard(tmp_path_factory.mktemp("podyard"))
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.terminate()
        server.reset()
        server.network.remove()


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where that listens which the test's row names."""
    listens = ROWS[request.node.callspec.params["name"]].listens
    if isinstance(listens, dict):
        server: Podyard = request.getfixturevalue("server")
        if any(server.settings.get(key) != value for key, value in listens.items()):
            asyncio.run(restart(server, **listens))
        return server.endpoint
    if listens in ("containerd", "mute"):
        return str(request.getfixturevalue(listens).endpoint)
    path = tmp_path / "x.sock"
    if listens == "stale":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    return f"unix://{path}"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.chosen is not None])
async def test_a_client_speaks_the_newest_version_of_each_service(
    name: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    row = ROWS[name]
    async with await Client.connect(endpoint, versions=row.versions) as client:
        assert (client.runtime_version, client.image_version) == row.chosen
        await client.runtime.list_containers()
        await client.images.list_images()
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    spoken = {"RuntimeService": client.runtime_version, "ImageService": client.image_version}
    for service, version in spoken.items():
        told = f"{service} on {endpoint} is spoken in v1alpha2, which is deprecated"
        assert any(told in text for text in warned) == (version == "v1alpha2")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.chosen is None])
async def test_an_agent_gives_up_where_it_can_speak_no_version(
    name: str, endpoint: str, tmp_path: Path, mute: Attempt, request: pytest.FixtureRequest
) -> None:
    row, attempt = ROWS[name], mute
    if name != "mute":
        attempt = Attempt(endpoint, tmp_path, row.versions)
        request.addfinalizer(attempt.close)
    assert await attempt.ended() == EndpointError.exit_code
    log = attempt.node.log.read_text()
    for text in row.says:
        assert text.format(endpoint) in log
    assert log.count("Service: ") == sum("Service: " in text for text in row.says), "nothing else was tried"
    assert not attempt.called, "no node may be registered"
    assert not [left for left in ("node.sock", "pods", "logs") if (attempt.folder / left).exists()]


def test_a_mute_socket_gets_as_long_as_a_kubelet_gives_it() -> None:
    assert 5 <= PATIENCE <= 20


async def test_restarts_of_the_runtime_and_of_the_agent(
    server: Podyard,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "HEALTH_POLL", 0.1)
    caplog.set_level(logging.INFO, "podyard")
    await restart(server, versions=OLD, image_versions=OLD)
    async with serving(ApiServer()) as cluster:
        config = kubeconfig(tmp_path, cluster.url)
        async with agent(server, config, tmp_path), await Client.connect(server.endpoint) as older:
            await until_node(cluster, "True")
            # A newer version appears: nothing is negotiated again. Whoever starts now takes the newest.
            await restart(server, versions=BOTH, image_versions=BOTH)
            async with await Client.connect(server.endpoint) as newer:
                assert (newer.runtime_version, newer.image_version) == ("v1", "v1")
                await works(older.runtime.version, older.images.image_fs_info)
                # The newest goes: its clients get nothing in another one.
                await restart(server, versions=OLD, image_versions=OLD)
                await works(older.runtime.version, older.images.image_fs_info)
                await fails(newer.runtime.version, "runtime.v1.RuntimeService")
                await fails(newer.images.image_fs_info, "runtime.v1.ImageService")
                # Each service counts for itself.
                await restart(server, versions=NEW, image_versions=OLD)
                await works(newer.runtime.version, older.images.image_fs_info)
                await fails(newer.images.image_fs_info, "runtime.v1.ImageService")
                await fails(older.runtime.version, "runtime.v1alpha2.RuntimeService")
                # The node says what it lost and what helps.
                said = await until_node(cluster, "False", "any more")
                assert f"{server.endpoint} does not serve runtime.v1alpha2.RuntimeService any more" in said
                assert "Restart the client (of a node: the agent) to choose again" in said
                # The versions come back: all go on with theirs, the node too.
                await restart(server, versions=BOTH, image_versions=BOTH)
                await works(newer.runtime.version, newer.images.image_fs_info)
                await works(older.runtime.version, older.images.image_fs_info)
                assert (older.runtime_version, older.image_version) == ("v1alpha2", "v1alpha2")
                await until_node(cluster, "True")
        async with agent(server, config, tmp_path):
            await until_node(cluster, "True")
    chosen = [record.getMessage() for record in caplog.records if record.getMessage().startswith("node: on ")]
    began = f"node: on {server.endpoint}"
    assert [text.partition(", API at ")[0] for text in chosen] == [
        f"{began} (v1alpha2, images v1alpha2)",
        f"{began} (v1, images v1)",
    ]


@asynccontextmanager
async def agent(server: Podyard, config: Path, folder: Path) -> AsyncIterator[None]:
    """``podyard node`` in this process, as a node of the cluster, until the end of the block."""
    options = node.Options(
        runtime_endpoint=server.endpoint,
        image_endpoint=None,
        versions=services.VERSIONS,
        pod_root=folder / "pods",
        log_root=folder / "logs",
        api_socket=folder / "node.sock",
        kubeconfig=config,
        node=Settings(name="n"),
    )
    running = asyncio.create_task(node.run(options))
    await asyncio.sleep(0)  # it handles signals from its first step on
    try:
        yield
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, WAIT_LIMIT)


async def restart(server: Podyard, **settings: Any) -> None:
    """Start it with other settings, ended before if it runs; wait until it serves."""
    if server.process is not None:
        await asyncio.to_thread(server.terminate)
    server.settings |= settings
    server.log.unlink(missing_ok=True)
    server.configure()
    server.spawn()
    async with asyncio.timeout(START_LIMIT):
        # There is no call that it answers in every configuration.
        while " serving " not in server.log.read_text():
            assert server.process is not None
            assert server.process.poll() is None, server.log.read_text()
            await asyncio.sleep(0.02)


def kubeconfig(folder: Path, url: str) -> Path:
    """The way to an API server, as a file."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(json.dumps(config))
    return path


async def works(*calls: Callable[[], Awaitable[object]]) -> None:
    """Wait until the calls are answered: a client dials anew within 3 s."""
    for call in calls:
        async with asyncio.timeout(WAIT_LIMIT):
            while True:
                try:
                    await call()
                except PodyardError as error:
                    assert "any more" not in str(error), error
                    await asyncio.sleep(0.02)
                else:
                    break


async def fails(call: Callable[[], Awaitable[object]], service: str) -> None:
    """Wait until the call fails since the service is not there in the version that was chosen."""
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            with pytest.raises(PodyardError) as raised:
                await call()
            if f"does not serve {service} any more" in str(raised.value):
                assert isinstance(raised.value, EndpointError)
                return
            await asyncio.sleep(0.02)


async def until_node(cluster: ApiServer, status: str, text: str = "") -> str:
    """The message of the Node's condition Ready, once that has the status and the text."""
    async with asyncio.timeout(WAIT_LIMIT):
        while True:
            found = cluster.get("nodes", "n").get("status", {}) if cluster.has("nodes", "n") else {}
            for one in found.get("conditions", ()):
                if (one["type"], one["status"]) == ("Ready", status) and text in one["message"]:
                    return str(one["message"])
            await asyncio.sleep(0.02)
