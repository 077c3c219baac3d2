"""The images of this host."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import DataLoss, NotFound, PodyardError, Unavailable, translate
from podyard.images.archive import Archive
from podyard.images.auth import Credentials
from podyard.images.catalog import Catalog
from podyard.images.config import ImagesConfig
from podyard.images.content import ContentStore
from podyard.images.install import Installer
from podyard.images.manifest import parse_configuration
from podyard.images.platforms import Host
from podyard.images.progress import PullProgress
from podyard.images.records import ImageRecord, ImageRecords
from podyard.images.registry import Repository
from podyard.images.snapshots import Snapshots
from podyard.images.sources import Contents, Source, resolve
from podyard.images.transport import Transport
from podyard.model.image import Image, ImageConfig
from podyard.model.reference import Reference, parse
from podyard.operations import stage
from podyard.state.database import Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usage:
    """What all images take on the disk."""

    size: int
    inodes: int


class ImageStore:
    """Pulls, loads, finds and removes images.

    Files come first, then their record: whatever a crash leaves that no record names is removed at the next start.
    Queries answer from memory. All calls come from the event loop's thread.

    ``in_use``: the ids of the images that containers are made of; their layers stay until ``release``.
    """

    def __init__(self, folder: Path, database: Database, config: ImagesConfig, in_use: Callable[[], set[str]]) -> None:
        self.folder = folder
        self._config = config
        self._in_use = in_use
        records = ImageRecords(database)
        self._catalog = Catalog(records, config.pinned)
        self._content = ContentStore(folder)
        self._snapshots = Snapshots(folder / "l", records)
        self._installer = Installer(self._content, self._snapshots, config.parallel_layers)
        self._transport = Transport(config)
        self._host = Host.this(config.platform_variant)
        self._pulls: dict[tuple[Reference, Credentials | None], tuple[asyncio.Task[Image], PullProgress]] = {}
        self._held: Counter[str] = Counter()
        self._closed = False

    async def start(self) -> None:
        """Read the records, compare them with the disk, and remove what nothing refers to.

        An image that lacks a layer or its configuration is forgotten, which is logged: it has to be pulled again.

        Raises DataLoss when a record cannot be read.
        """
        images = self._catalog.start()
        keep = {digest for image in images for digest in (image.id, *image.manifests)}
        await asyncio.to_thread(self._content.prepare, keep)
        await self._snapshots.start()
        for record in images:
            try:
                self._catalog.restore(record, await asyncio.to_thread(self._read_config, record))
            except (DataLoss, NotFound) as error:
                logger.warning("image %s is forgotten: %s", record.id, error)
                self._catalog.restore(record, ImageConfig())
                self._catalog.strip(record.id)
        await self._collect()

    async def close(self) -> None:
        """Stop the pulls in flight; nothing is left of them. Close all connections."""
        self._closed = True
        tasks = [task for task, _ in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()

    def images(self) -> list[Image]:
        """All images, without those that only a container holds."""
        return self._catalog.images()

    def find(self, reference: str) -> Image | None:
        """The image with a name (short ones too), a digest, an id, or the beginning of an id; None when it is not here.

        Raises InvalidArgument when ``reference`` can be no image's, or is the beginning of several ids.
        """
        return self._catalog.find(reference)

    def image_config(self, image: Image) -> ImageConfig:
        """How the image wants to be run. Raises NotFound when it was removed meanwhile."""
        return self._catalog.get(image.id).config

    def lower_dirs(self, image: Image) -> list[Path]:
        """The directories of the image's layers for an overlay, the topmost first.

        Raises NotFound when it was removed meanwhile.
        """
        return self._snapshots.lower_dirs(self._catalog.get(image.id).record.layers)

    def usage(self) -> Usage:
        """Bytes and inodes of all layers and documents, as they were counted when they were written."""
        layers, documents = self._snapshots.records(), self._content.sizes()
        return Usage(
            sum(layer.size for layer in layers) + sum(documents.values()),
            sum(layer.inodes for layer in layers) + len(documents),
        )

    async def configuration(self, image: Image) -> bytes:
        """The image's configuration, as it came. Raises DataLoss when it is damaged."""
        return await asyncio.to_thread(self._content.read, self._catalog.get(image.id).record.id)

    def pulls(self) -> list[PullProgress]:
        """The pulls in flight."""
        return [progress for _, progress in self._pulls.values()]

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        """Bring an image here, or join the pull of the same name that is going on. It goes on when the caller has gone.

        Raises InvalidArgument, NotFound, PermissionDenied, RegistryUnavailable, DataLoss, ResourceExhausted. Then
        nothing of it is left, and whatever the name meant before it still means.
        """
        if self._closed:
            raise Unavailable("podyard is stopping: pull the image once it runs again")
        reference = parse(name).pinned
        key = (reference, credentials)
        if key not in self._pulls:
            progress = PullProgress(str(reference))
            task = asyncio.create_task(self._pull(reference, credentials, progress))
            self._pulls[key] = (task, progress)
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(self._pulls[key][0])

    async def load(self, path: Path) -> list[Image]:
        """The images of an OCI layout (directory or tar) or a docker archive; each gets its names there.

        Raises NotFound, InvalidArgument, DataLoss, ResourceExhausted; images before the bad one stay.
        """
        images = []
        progress = PullProgress(str(path))
        try:
            async with Archive.opened(path, self._content) as archive:
                for found in await archive.images(self._host):
                    names = [str(tag.pinned) for tag in found.tags]
                    names += [tag.with_digest(found.digest) for tag in found.tags if found.digest]
                    images.append((await self._add(archive, found.contents, names, progress)).id)
        except OSError as error:
            raise translate(error, f"loading {path}") from error
        # As they are now: a later image of the archive may have taken a name of an earlier one.
        return [self._catalog.get(image_id).image for image_id in images]

    async def remove(self, reference: str) -> None:
        """Remove an image by any of its names, with all of them. One that is not here is fine.

        The layers of an image that containers are made of stay until the last one is gone.
        """
        image = self._catalog.find(reference)
        if image is not None:
            self._catalog.strip(image.id)
            await self._collect()

    async def release(self) -> None:
        """A container is gone: remove what only it held."""
        if any(entry.record.removed for entry in self._catalog.entries()):
            await self._collect()

    async def _pull(self, reference: Reference, credentials: Credentials | None, progress: PullProgress) -> Image:
        repository = Repository(self._transport, self._config, reference, credentials)
        try:
            with _doing(progress, "asking the registry"):
                top, data = await repository.manifest()
                progress.image_digest = top.digest
                contents = await resolve(repository, top, data, self._host, str(reference))
            names = [reference.with_digest(top.digest)]
            if reference.tag:
                names.append(str(reference))
            return await self._add(repository, contents, names, progress)
        except OSError as error:
            raise translate(error, f"pulling {reference}") from error

    async def _add(self, source: Source, contents: Contents, names: Sequence[str], progress: PullProgress) -> Image:
        """Everything of an image onto the disk, then into the database."""
        finished = False
        try:
            with self._holding((*contents.chain, *contents.documents)):
                with _doing(progress, "fetching and unpacking layers"):
                    await self._installer.install(source, contents, progress.layers)
                with _doing(progress, "writing the image to the disk"):
                    await self._snapshots.sync(contents.chain)
                    await self._content.add(contents.documents)
                image = self._remember(contents, names)
            finished = True
        finally:
            if not finished:
                await self._collect()
        return image

    def _remember(self, contents: Contents, names: Sequence[str]) -> Image:
        config = contents.configuration.settings()
        size = sum(self._snapshots.record(chain_id).size for chain_id in contents.chain)
        record = ImageRecord(
            id=contents.image_id,
            size=size + len(contents.documents[contents.image_id]),
            user=config.user,
            layers=contents.chain,
            manifests=contents.manifests,
        )
        return self._catalog.save(record, config, names)

    async def _collect(self) -> None:
        """Remove images that lost their names and their last container, and layers and documents of no image."""
        in_use = self._in_use()
        entries = self._catalog.entries()
        gone = {entry.record.id for entry in entries if entry.record.removed and entry.record.id not in in_use}
        needed = {digest for entry in entries if entry.record.id not in gone for digest in entry.parts}
        needed |= self._held.keys()
        chain_ids = [layer.chain_id for layer in self._snapshots.records() if layer.chain_id not in needed]
        documents = [digest for digest in self._content.sizes() if digest not in needed]
        if gone or chain_ids:
            self._catalog.delete(gone, chain_ids)
        for digest in documents:
            self._content.remove(digest)
        await self._snapshots.remove(self._snapshots.forget(chain_ids))

    def _read_config(self, record: ImageRecord) -> ImageConfig:
        for chain_id in record.layers:
            if chain_id not in self._snapshots:
                raise NotFound(f"its layer {chain_id} is missing from {self.folder}")
        return parse_configuration(self._content.read(record.id), record.id).settings()

    def _ended(self, key: tuple[Reference, Credentials | None], task: asyncio.Task[Image]) -> None:
        del self._pulls[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its callers may all have gone.
            level = logging.INFO if isinstance(error, PodyardError) else logging.ERROR
            logger.log(level, "the pull of %s failed: %s", key[0], error)

    @contextmanager
    def _holding(self, digests: Collection[str]) -> Iterator[None]:
        """Keep layers and documents that no record names yet."""
        self._held.update(digests)
        try:
            yield
        finally:
            self._held.subtract(digests)
            self._held = +self._held


@contextmanager
def _doing(progress: PullProgress, what: str) -> Iterator[None]:
    progress.stage = what
    with stage(what):
        yield
