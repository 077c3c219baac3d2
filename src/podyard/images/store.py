"""The images of this host."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PodyardError,
    ResourceExhausted,
    translate,
)
from podyard.images.archive import Archive
from podyard.images.auth import Credentials
from podyard.images.catalog import Catalog, Entry
from podyard.images.config import ImagesConfig
from podyard.images.content import ContentStore
from podyard.images.counts import Counts
from podyard.images.differences import Change, Layer, compare
from podyard.images.exports import Exporter
from podyard.images.fsck import Checker, Report
from podyard.images.garbage import Garbage
from podyard.images.holds import Holds
from podyard.images.install import Installer, together
from podyard.images.manifest import parse_configuration
from podyard.images.platforms import Host
from podyard.images.progress import PullProgress, doing
from podyard.images.pulling import Puller
from podyard.images.records import ImageRecord, ImageRecords, SnapshotRecord
from podyard.images.registries import places
from podyard.images.snapshots import Snapshots
from podyard.images.sources import Contents, Source
from podyard.model.image import Image, ImageConfig
from podyard.model.reference import parse
from podyard.state.database import Database

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT}
"""What a full disk says."""


@dataclass(frozen=True)
class Usage:
    """What all images take on the disk."""

    size: int
    """Bytes of blocks."""
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
        self._snapshots = Snapshots(folder, records)
        self.counts = Counts()
        """What pulls have done."""
        self._installer = Installer(self._content, self._snapshots, config.parallel_layers, self.counts)
        self._holds = Holds()
        self._host = Host.this(config.platform_variant)
        self._puller = Puller(config, self._host, self.counts, self._add)
        self.garbage = Garbage(
            folder,
            config,
            catalog=self._catalog,
            content=self._content,
            snapshots=self._snapshots,
            installer=self._installer,
            holds=self._holds,
            in_use=in_use,
        )
        self._checker = Checker(
            catalog=self._catalog,
            content=self._content,
            snapshots=self._snapshots,
            installer=self._installer,
            holds=self._holds,
            puller=self._puller,
            in_use=in_use,
        )
        self._exporter = Exporter(self._content, self._snapshots)

    async def start(self) -> None:
        """Read the records, compare them with the disk, and remove what nothing refers to.

        An image that lacks a layer or its configuration is forgotten, which is logged: it has to be pulled again.

        Raises DataLoss when a record cannot be read.
        """
        images = self._catalog.start()
        keep = {digest for image in images for digest in (image.id, *image.manifests)}
        await asyncio.to_thread(self._content.prepare, keep)
        self._catalog.search = await self._search()
        await self._snapshots.start()
        for record in images:
            try:
                self._catalog.restore(record, await asyncio.to_thread(self._read_config, record))
            except (DataLoss, NotFound) as error:
                logger.warning("image %s is forgotten: %s", record.id, error)
                self._catalog.restore(record, ImageConfig())
                self._catalog.strip(record.id)
        await self.garbage.collect()

    async def watch(self) -> None:
        """Look for what may go from time to time, until it is cancelled."""
        while True:
            await asyncio.sleep(self._config.gc_interval)
            try:
                await self.garbage.look()
            except (PodyardError, OSError) as error:
                logger.warning("looking for images and layers that may go: %s", error)

    async def close(self) -> None:
        """Stop the pulls in flight and close all connections."""
        await self._puller.close()
        await self._snapshots.close()

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
        """What layers, their records and documents take, as it was counted when they were written."""
        layers = self._snapshots.records()
        return Usage(
            sum(layer.disk or layer.size for layer in layers) + self._content.disk(),
            sum(layer.inodes + bool(layer.record) for layer in layers) + len(self._content.sizes()),
        )

    async def configuration(self, image: Image) -> bytes:
        """The image's configuration, as it came. Raises DataLoss when it is damaged."""
        return await asyncio.to_thread(self._content.read, self._catalog.get(image.id).record.id)

    def pulls(self) -> list[PullProgress]:
        """The pulls in flight."""
        return self._puller.progress()

    async def pull(self, name: str, credentials: Credentials | None = None) -> Image:
        """Bring an image here, or join the pull of the same name that is going on. It goes on when the caller has gone.

        Raises InvalidArgument, NotFound, PermissionDenied, SignatureValidationFailed, RegistryUnavailable, DataLoss,
        ResourceExhausted. Then whatever the name meant before it still means; layers and parts of layers that are good
        stay for a while, for the next pull.
        """
        self._catalog.search = await places.search(self._config)
        if self._catalog.named(name) is None:
            self._snapshots.workers.prepare()
        return await self._puller.pull(name, credentials, self._catalog.search)

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
            await self.garbage.collect()

    async def release(self) -> None:
        """A container is gone: remove what only it held."""
        if any(entry.record.removed for entry in self._catalog.entries()):
            await self.garbage.collect()

    async def check(self, *, repair: bool = False) -> Report:
        """Compare everything with its digests and records; with ``repair``, fetch again what is wrong."""
        return await self._checker.check(repair=repair)

    async def save(self, references: Sequence[str], path: Path) -> int:
        """Write images to a new OCI layout in a tar archive; its size in bytes.

        Raises NotFound for an image that is not here, and what Exporter.save raises.
        """
        entries = [self._entry(reference) for reference in references]
        try:
            with self._holds.on([digest for entry in entries for digest in entry.parts]):
                return await self._exporter.save(entries, path)
        except OSError as error:
            raise translate(error, f"writing {path}") from error

    def tag(self, reference: str, name: str) -> Image:
        """Give an image a further name, which may have been another's.

        Raises NotFound, InvalidArgument for a name with a digest, ResourceExhausted when the disk is full.
        """
        entry, added = self._entry(reference), parse(name)
        if added.digest:
            raise InvalidArgument(f"{name!r} has a digest: only a tag can be given")
        return self._catalog.save(entry.record, entry.config, [str(added)])

    async def documents(self, reference: str) -> tuple[Entry, dict[str, bytes]]:
        """An image, and its configuration and manifests by digest. Raises NotFound, DataLoss."""
        entry = self._entry(reference)
        digests = (entry.record.id, *entry.record.manifests)
        return entry, {digest: await asyncio.to_thread(self._content.read, digest) for digest in digests}

    def layers(self) -> list[tuple[SnapshotRecord, list[Image]]]:
        """Each unpacked layer, and the images that are made of it."""
        users: dict[str, list[Image]] = {}
        for entry in self._catalog.entries():
            for chain_id in entry.record.layers:
                users.setdefault(chain_id, []).append(entry.image)
        return [(layer, users.get(layer.chain_id, [])) for layer in self._snapshots.records()]

    def used_images(self) -> set[str]:
        """The ids of the images that containers are made of."""
        return self._in_use()

    async def differences(self, first: str, second: str) -> list[Change]:
        """How the root file systems of two images differ.

        Raises NotFound, FailedPrecondition for a layer without a record, DataLoss, ResourceExhausted.
        """
        entries = [self._entry(first), self._entry(second)]
        with self._holds.on([digest for entry in entries for digest in entry.parts]):
            one, other = [[await self._compared(chain_id) for chain_id in entry.record.layers] for entry in entries]
            return await asyncio.to_thread(compare, one, other)

    async def _compared(self, chain_id: str) -> Layer:
        layer = self._snapshots.record(chain_id)
        if not layer.record:
            raise FailedPrecondition(f"the layer {chain_id} has no record: pull its image again with this podyard")
        return Layer(self._snapshots.tree(layer), await asyncio.to_thread(self._snapshots.record_file, layer))

    def _entry(self, reference: str) -> Entry:
        image = self._catalog.find(reference)
        if image is None:
            raise NotFound(f"there is no image {reference!r} here: pull or load it first")
        return self._catalog.get(image.id)

    async def _add(self, source: Source, contents: Contents, names: Sequence[str], progress: PullProgress) -> Image:
        """Everything of an image onto the disk, then into the database."""
        try:
            with self._holds.on((*contents.chain, *contents.documents)):
                with doing(progress, "fetching and unpacking layers"):
                    await self._installer.install(source, contents, progress.layers)
                with doing(progress, "writing the image to the disk"):
                    async with together() as group:
                        group.create_task(self._snapshots.sync(contents.chain))
                        group.create_task(self._content.add(contents.documents))
                return self._remember(contents, names)
        except BaseException as error:
            full = isinstance(error, ResourceExhausted) or (isinstance(error, OSError) and error.errno in FULL)
            await self.garbage.collect(waiting=full)
            raise

    def _remember(self, contents: Contents, names: Sequence[str]) -> Image:
        config = contents.configuration.settings()
        size = sum(self._snapshots.record(chain_id).size for chain_id in contents.chain)
        record = ImageRecord(
            id=contents.image_id,
            size=size + len(contents.documents[contents.image_id]),
            user=config.user,
            layers=contents.chain,
            manifests=contents.manifests,
            used_at=time.time_ns(),
        )
        image = self._catalog.save(record, config, names)
        self._snapshots.used(contents.chain)
        return image

    async def _search(self) -> tuple[str, ...]:
        try:
            return await places.search(self._config)
        except FailedPrecondition as error:
            # Pulls will fail with it; what is here can be used all the same.
            logger.warning("names without a registry are looked for in docker.io: %s", error)
            return ()

    def _read_config(self, record: ImageRecord) -> ImageConfig:
        for chain_id in record.layers:
            if chain_id not in self._snapshots:
                raise NotFound(f"its layer {chain_id} is missing from {self.folder}")
        return parse_configuration(self._content.read(record.id), record.id).settings()
