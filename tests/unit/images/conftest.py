"""A registry, a store, and images that are made on the spot."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import registry
from tests.support.faulty import Proxy

from podyard.images.config import ImagesConfig
from podyard.images.layout import LayoutWriter, WrittenLayer, WrittenManifest, directory, file
from podyard.images.store import ImageStore
from podyard.state.database import Database

MakeStore = Callable[..., Awaitable[ImageStore]]


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry in plain HTTP; tests use repositories of their own."""
    with registry.serve(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
async def proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy before the registry."""
    async with Proxy(upstream).serving() as proxy:
        yield proxy


@pytest.fixture
def layout(tmp_path: Path) -> LayoutWriter:
    """An empty layout."""
    return LayoutWriter(tmp_path / "layout")


@dataclass(frozen=True)
class Pushed:
    """An image in the registry."""

    repository: str
    manifest: WrittenManifest
    written: tuple[WrittenLayer, ...]
    """Its layers, the lowest first."""
    last: bytes
    """The topmost blob."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The digests of its blobs, the lowest first."""
        return tuple(layer.digest for layer in self.written)


@pytest.fixture
def pushed(upstream: str, layout: LayoutWriter, request: pytest.FixtureRequest) -> Pushed:
    """An image of two layers; the topmost is 600,000 bytes that do not compress."""
    repository = "r/" + "".join(char if char.isalnum() else "-" for char in request.node.name.lower()).strip("-")
    repository = "-".join(part for part in repository.split("-") if part)
    noise = random.Random(1).randbytes(600_000)
    layers = [
        layout.add_layer({"etc": directory(), "etc/name": file(repository)}),
        layout.add_layer({"noise": file(noise)}, "none"),
    ]
    manifest = layout.add_image(layers, tags=["docker.io/library/pushed:1"], config={"User": "7:8"})
    registry.push(upstream, layout, manifest, repository, "1")
    last = layout.path(layers[1].digest).read_bytes()
    return Pushed(repository, manifest, tuple(layers), last)


@pytest.fixture
async def make_store(tmp_path: Path) -> AsyncIterator[MakeStore]:
    """Makes started stores; those on one folder share their database file, as a restarted daemon does."""
    async with AsyncExitStack() as stack:

        async def make(
            folder: Path = tmp_path / "images", in_use: Callable[[], set[str]] = set, **config: object
        ) -> ImageStore:
            # Nothing of this host's own configuration; what failed pulls leave goes at once.
            alone = {"hosts_dirs": [], "registries_conf": folder / "none", "auth_files": [], "signature_policy": None}
            quick = {"retry_delay": 0.01, "progress_timeout": 5.0, "parts_age": 0.0, **alone, **config}
            database = Database(folder.parent / f"{folder.name}.db")
            stack.callback(database.close)
            store = ImageStore(folder, database, ImagesConfig(**quick), in_use)  # type: ignore[arg-type]
            stack.push_async_callback(store.close)
            await store.start()
            return store

        yield make


@pytest.fixture
async def store(make_store: MakeStore) -> ImageStore:
    """A started store in ``tmp_path/images``."""
    return await make_store()


def left(folder: Path) -> set[str]:
    """What stands in a store's folder, directories that are always there left out."""
    always = {"tmp", "l", "l/0", "blobs", "blobs/sha256", "blobs/sha512", "parts", "records"}
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - always
