"""The suites that start runtimes: each test runs against podyard and, unless it says otherwise, against containerd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.e2e.differences import CONTAINERD, NOT_RUN
from tests.support import crash, registry, saving
from tests.support.commands import LIMIT, PODYARD, Run
from tests.support.images import Images, push_images
from tests.support.pods import Kit, kit_on
from tests.support.servers import Containerd, Podyard, Server, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a host; what containerd does otherwise must fail there, for the reason that is listed."""
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.host)
        name = item.nodeid.rpartition("/")[2].removesuffix(".py")
        if "[containerd" not in name:
            continue
        test = name.replace("[containerd-", "[").replace("[containerd]", "")
        if test in CONTAINERD:
            item.add_marker(pytest.mark.xfail(reason=CONTAINERD[test], strict=True))
        if test in NOT_RUN:
            item.add_marker(pytest.mark.skip(reason=NOT_RUN[test]))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """The tests' images in a registry of their own."""
    with registry.serve(tmp_path_factory.mktemp("registry")) as address:
        yield push_images(address, tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="session")
def podyard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """podyard, serving for the whole session."""
    server = Podyard(tmp_path_factory.mktemp("podyard"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def containerd(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """Debian's containerd, serving for the whole session."""
    server = Containerd(tmp_path_factory.mktemp("containerd"), images.registry, images.pause)
    with running(server):
        yield server


@pytest.fixture(params=["podyard", "containerd"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each runtime in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture
async def kit(server: Server, images: Images) -> AsyncIterator[Kit]:
    """Sandboxes and containers in one of the runtimes."""
    async with kit_on(server, images.busybox) as kit:
        yield kit


@pytest.fixture
async def ours(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    """Sandboxes and containers in podyard, for what only that has."""
    async with kit_on(podyard, images.busybox) as kit:
        yield kit


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Podyard]:
    """A podyard of the test's own."""
    server = Podyard(tmp_path / "own")
    with running(server):
        yield server


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    """For commands that are to talk to the runtime."""
    return {**os.environ, "PODYARD_RUNTIME_ENDPOINT": server.endpoint}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """A command with pipes, in a folder of its own."""

    def call(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [*PODYARD, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=2 * LIMIT, cwd=tmp_path)

    return call


@pytest.fixture(scope="session")
def saver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """A podyard with a handler for CRIU, whose OCI runtime is runc, and one for the stand-in (tests.support.saving).

    It can be killed at any step, as tests.support.crash says.
    """
    folder = tmp_path_factory.mktemp("saver")
    handlers = {
        "runtime.handlers.criu": {"path": "runc"},
        "runtime.handlers.stand-in": {"path": str(saving.install(folder))},
    }
    server = Podyard(folder / "own", runtime={"hooks": ["tests.support.crash:setup"]}, **handlers)
    server.environment = {crash.FOLDER: str(server.folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(server):
        yield server


@pytest.fixture
def fault(saver: Podyard) -> Iterator[Path]:
    """The directory of the orders for the stand-in."""
    folder = saver.folder.parent
    yield folder
    for order in ("checkpoint.fails", "checkpoint.hangs", "restore.fails", "restore.kills"):
        (folder / order).unlink(missing_ok=True)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty directory for a checkpoint."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    return folder
