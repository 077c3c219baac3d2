"""What may go, and why the rest stays."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podyard.images.catalog import Catalog, Entry
from podyard.images.config import ImagesConfig
from podyard.images.content import ContentStore, Part
from podyard.images.holds import Holds
from podyard.images.install import Installer
from podyard.images.records import SnapshotRecord
from podyard.images.snapshots import Snapshots

logger = logging.getLogger(__name__)

Kind = Literal["image", "layer", "document", "part", "file"]

USED_STEP = 600 * 10**9
"""Nanoseconds by which an image's last use may be noted too late: the database is not written for each look."""
MARGIN = 5
"""Percent of the file system by which the threshold is gone below, so that it is not met at once again."""


@dataclass(frozen=True)
class Item:
    """A thing on the disk. ``size``: bytes that go with it. ``why`` completes "it is held because" or "it goes …"."""

    kind: Kind
    name: str
    size: int
    held: bool
    why: str


class Garbage:
    """Removes images that lost their names and their last container, and what no image is made of."""

    def __init__(
        self,
        folder: Path,
        config: ImagesConfig,
        *,
        catalog: Catalog,
        content: ContentStore,
        snapshots: Snapshots,
        installer: Installer,
        holds: Holds,
        in_use: Callable[[], set[str]],
    ) -> None:
        self._folder = folder
        self._config = config
        self._catalog = catalog
        self._content = content
        self._snapshots = snapshots
        self._installer = installer
        self._holds = holds
        self._in_use = in_use

    async def collect(self, *, waiting: bool = False) -> None:
        """Remove what nothing refers to. What failed pulls have left stays for its time, unless ``waiting`` goes too.

        Raises Internal when layers cannot be removed.
        """
        await self._installer.settled()
        await self._snapshots.settled()
        in_use = self._in_use()
        gone = self._gone(in_use)
        needed = self._needed(gone)
        layers = [
            layer.chain_id
            for layer in self._snapshots.records()
            if layer.chain_id not in needed and (waiting or not self._waits(layer))
        ]
        # First what no record names: on a full disk the database could not be written.
        for part in self._loose_parts():
            if waiting or self._age(part.changed) > self._config.parts_age:
                part.path.unlink(missing_ok=True)
        if gone or layers:
            self._catalog.delete(gone, layers)
        for digest in [digest for digest in self._content.sizes() if digest not in needed]:
            self._content.remove(digest)
        await self._snapshots.remove(self._snapshots.forget(layers))

    async def run(self, *, images: bool = False) -> list[Item]:
        """Remove all that may go, and with ``images`` those that no container uses; what went.

        Raises Internal when something cannot be removed.
        """
        items = [item for item in self.survey(images=images) if not item.held]
        if images:
            for entry in self._unused():
                self._catalog.strip(entry.record.id)
        await self.collect(waiting=True)
        await self._snapshots.remove(self._strays())
        return items

    async def look(self) -> None:
        """What is done from time to time: note which images are used, keep the disk below the threshold, collect."""
        now = time.time_ns()
        in_use = self._in_use()
        used = [entry.record for entry in self._catalog.entries() if entry.record.id in in_use]
        self._catalog.used([record.id for record in used if now - record.used_at > USED_STEP], now)
        if self._config.gc_threshold and self._filled() > self._config.gc_threshold:
            await self._make_room(self._config.gc_threshold - MARGIN)
        await self.collect()

    def survey(self, *, images: bool = False) -> list[Item]:
        """All that stands on the disk, with why it stays or may go."""
        in_use = self._in_use()
        unused = {entry.record.id for entry in self._unused()} if images else set()
        gone = self._gone(in_use) | unused
        needed = self._needed(gone)
        users = self._users(gone)
        items = [self._of_image(entry, gone, unused, in_use) for entry in self._catalog.entries()]
        items += [self._of_layer(layer, needed, users) for layer in self._snapshots.records()]
        items += [
            Item("document", digest, size, digest in needed, users.get(digest, "no image refers to it"))
            for digest, size in self._content.sizes().items()
        ]
        loose = {part.path for part in self._loose_parts()}
        for part in self._content.parts():
            why = self._left(part.changed) if part.path in loose else "a pull is writing or unpacking it"
            items.append(Item("part", part.digest, part.size, part.path not in loose, why))
        for path in self._strays():
            items.append(Item("file", str(path), _size(path), False, "nothing knows it: a crash has left it"))
        return items

    async def _make_room(self, percent: int) -> None:
        """Remove unused images, those first that were not used for longest, until no more than ``percent`` is used."""
        for entry in sorted(self._unused(), key=lambda entry: entry.record.used_at):
            if self._filled() <= percent:
                return
            # Removing the one before takes its time: this one may have been removed, or come into use meanwhile.
            if entry.record.id not in {other.record.id for other in self._unused()}:
                continue
            names = ", ".join(entry.image.repo_tags) or entry.record.id
            logger.info("removing the unused image %s: the file system of %s is too full", names, self._folder)
            self._catalog.strip(entry.record.id)
            await self.collect(waiting=True)

    def _unused(self) -> list[Entry]:
        in_use = self._in_use()
        return [
            entry
            for entry in self._catalog.entries()
            if not (entry.image.pinned or entry.record.removed or entry.record.id in in_use)
        ]

    def _gone(self, in_use: Collection[str]) -> set[str]:
        entries = self._catalog.entries()
        return {entry.record.id for entry in entries if entry.record.removed and entry.record.id not in in_use}

    def _needed(self, gone: Collection[str]) -> set[str]:
        entries = self._catalog.entries()
        needed = {digest for entry in entries if entry.record.id not in gone for digest in entry.parts}
        return needed | self._holds.all()

    def _users(self, gone: Collection[str]) -> dict[str, str]:
        """By digest: which images are made of it."""
        users: dict[str, list[str]] = {}
        for entry in self._catalog.entries():
            if entry.record.id not in gone:
                name = next(iter((*entry.image.repo_tags, *entry.image.repo_digests)), entry.record.id)
                for digest in entry.parts:
                    users.setdefault(digest, []).append(name)
        texts = {digest: f"part of {', '.join(names)}" for digest, names in users.items()}
        return texts | {digest: "a pull needs it" for digest in self._holds.all() if digest not in texts}

    def _of_image(self, entry: Entry, gone: Collection[str], unused: Collection[str], in_use: Collection[str]) -> Item:
        name = next(iter((*entry.image.repo_tags, *entry.image.repo_digests)), entry.record.id)
        if entry.record.id in unused:
            why = "no container uses it"
        elif entry.record.id in gone:
            why = "its names are gone, and no container uses it"
        elif entry.record.id in in_use:
            why = "containers use it"
        else:
            why = "it is pinned" if entry.image.pinned else "it has not been removed"
        return Item("image", name, 0, entry.record.id not in gone, why)

    def _of_layer(self, layer: SnapshotRecord, needed: Collection[str], users: dict[str, str]) -> Item:
        if layer.chain_id in needed:
            return Item("layer", layer.chain_id, layer.size, True, users[layer.chain_id])
        why = self._left(layer.made_at) if layer.boot_id else "no image refers to it"
        return Item("layer", layer.chain_id, layer.size, False, why)

    def _waits(self, layer: SnapshotRecord) -> bool:
        return bool(layer.boot_id) and self._age(layer.made_at) <= self._config.parts_age

    def _left(self, since: int) -> str:
        rest = max(0, round(self._config.parts_age - self._age(since)))
        return f"a failed pull has left it; it would stay {rest} s more for the next one"

    def _loose_parts(self) -> list[Part]:
        busy = self._content.writing() | self._installer.busy()
        return [part for part in self._content.parts() if part.path not in busy]

    def _strays(self) -> list[Path]:
        busy = self._installer.busy()
        return [*self._snapshots.strays(), *(path for path in self._content.strays() if path not in busy)]

    def _age(self, since: int) -> float:
        return (time.time_ns() - since) / 1e9

    def _filled(self) -> float:
        """Percent of the file system that is used, as df(1) says it."""
        status = os.statvfs(self._folder)
        used = status.f_blocks - status.f_bfree
        return 100 * used / max(1, used + status.f_bavail)


def _size(path: Path) -> int:
    """Bytes on the disk; of a directory with all that is below it."""
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)
