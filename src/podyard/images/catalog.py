"""Which images are here, under which names: in memory, and in the database with each change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from podyard.errors import NotFound
from podyard.images.records import ImageRecord, ImageRecords
from podyard.model.ids import match_id
from podyard.model.image import Image, ImageConfig
from podyard.model.reference import candidates, is_digest, parse

_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Entry:
    """An image in memory."""

    record: ImageRecord
    config: ImageConfig
    image: Image

    @property
    def parts(self) -> tuple[str, ...]:
        """The digests of its documents and the chain ids of its layers."""
        return (self.record.id, *self.record.manifests, *self.record.layers)


class Catalog:
    """The images and their names. ``pinned``: names that make an image pinned."""

    def __init__(self, records: ImageRecords, pinned: Collection[str]) -> None:
        self._records = records
        self._pinned = frozenset(str(parse(name)) for name in pinned)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self.search: tuple[str, ...] = ()
        """Registries in which names without one are looked for; () for docker.io."""

    def start(self) -> list[ImageRecord]:
        """Read the names; gives the records, for ``restore``. Raises DataLoss when one cannot be read."""
        images = self._records.images()
        known = {image.id for image in images}
        # In a damaged database names may be left of images that are not there.
        self._names = {name: image_id for name, image_id in self._records.names().items() if image_id in known}
        return images

    def restore(self, record: ImageRecord, config: ImageConfig) -> None:
        """Take up an image that the database has."""
        self._entries[record.id] = Entry(record, config, self._image(record))

    def save(self, record: ImageRecord, config: ImageConfig, names: Sequence[str]) -> Image:
        """Write an image, and give it names, which may have been others'. It keeps the manifests that it had.

        Raises ResourceExhausted when the disk is full.
        """
        if record.id in self._entries:
            known = self._entries[record.id].record.manifests
            record = replace(record, manifests=tuple(dict.fromkeys((*known, *record.manifests))))
        self._records.save_image(record, names)
        self._names.update(dict.fromkeys(names, record.id))
        self._entries[record.id] = Entry(record, config, self._image(record))
        self._refresh()
        return self._entries[record.id].image

    def strip(self, image_id: str) -> None:
        """Take all names of an image; from now on only containers hold it."""
        self._records.strip_image(image_id)
        self._names = {name: holder for name, holder in self._names.items() if holder != image_id}
        entry = self._entries[image_id]
        record = replace(entry.record, removed=True)
        self._entries[image_id] = Entry(record, entry.config, self._image(record))

    def delete(self, image_ids: Collection[str], chain_ids: Iterable[str]) -> None:
        """Forget images, and the records of layers."""
        self._records.delete(image_ids, chain_ids)
        for image_id in image_ids:
            del self._entries[image_id]

    def entries(self) -> Collection[Entry]:
        """All images, those that only containers hold included."""
        return self._entries.values()

    def used(self, image_ids: Collection[str], when: int) -> None:
        """Note that containers use images. ``when``: nanoseconds since 1970."""
        self._records.mark_used(image_ids, when)
        for image_id in image_ids:
            entry = self._entries[image_id]
            self._entries[image_id] = Entry(replace(entry.record, used_at=when), entry.config, entry.image)

    def names(self) -> dict[str, str]:
        """The image's id of each name."""
        return self._names

    def get(self, image_id: str) -> Entry:
        """One of them. Raises NotFound when it was removed."""
        try:
            return self._entries[image_id]
        except KeyError:
            raise NotFound(f"image {image_id} was removed meanwhile: pull it again") from None

    def images(self) -> list[Image]:
        """All images, without those that only containers hold."""
        return [entry.image for entry in self._entries.values() if not entry.record.removed]

    def find(self, reference: str) -> Image | None:
        """The image with a name (short ones too), a digest, an id, or the beginning of an id; None when it is not here.

        Raises InvalidArgument when ``reference`` can be no image's, or is the beginning of several ids.
        """
        image_id = self._find(reference)
        return self._entries[image_id].image if image_id else None

    def _find(self, reference: str) -> str | None:
        if is_digest(reference):
            return self._present(reference) or self._by_manifest(reference)
        # An id may come with its algorithm, and with its first digits only.
        digits = reference.removeprefix("sha256:")
        if not digits or not _HEXADECIMAL.issuperset(digits):
            return self.named(reference)
        if len(digits) == 64:
            return self._present(f"sha256:{digits}")
        named = self.named(reference)
        return named or match_id(f"sha256:{digits}", (image.id for image in self.images()), what="image")

    def named(self, reference: str) -> str | None:
        """The id of the image with a name (short ones too); None when it is not here. Raises InvalidArgument."""
        names = (str(candidate.pinned) for candidate in candidates(reference, self.search))
        return next((self._names[name] for name in names if name in self._names), None)

    def _present(self, image_id: str) -> str | None:
        entry = self._entries.get(image_id)
        return image_id if entry and not entry.record.removed else None

    def _by_manifest(self, digest: str) -> str | None:
        holders = (entry.record for entry in self._entries.values() if not entry.record.removed)
        return next((record.id for record in holders if digest in record.manifests), None)

    def _refresh(self) -> None:
        """The images again, after names have moved."""
        for image_id, entry in self._entries.items():
            image = self._image(entry.record)
            if image != entry.image:
                self._entries[image_id] = Entry(entry.record, entry.config, image)

    def _image(self, record: ImageRecord) -> Image:
        names = sorted(name for name, image_id in self._names.items() if image_id == record.id)
        return Image(
            id=record.id,
            repo_tags=tuple(name for name in names if "@" not in name),
            repo_digests=tuple(name for name in names if "@" in name),
            size=record.size,
            user=record.user,
            layers=record.layers,
            pinned=not self._pinned.isdisjoint(names),
        )
