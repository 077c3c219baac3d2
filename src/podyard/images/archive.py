"""Images out of files: OCI layouts (directory or tar) and docker archives (``docker save``).

Sources of the rules: the OCI image specification, image-layout.md; for docker archives the format that ``docker load``
takes. An archive is untrusted: its documents are parsed with limits, its layers are verified as those of a registry.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podyard.errors import DataLoss, InvalidArgument, NotFound, PodyardError, Unimplemented
from podyard.images.content import BLOCK, BlobWriter, ContentStore, check_content, digest_of
from podyard.images.manifest import (
    ACCEPTED,
    DOCKER_LAYER,
    DOCUMENT_LIMIT,
    Descriptor,
    Index,
    parse_configuration,
    parse_json,
    parse_manifest,
)
from podyard.images.platforms import Host
from podyard.images.sources import Contents, Layer, OnBytes, check_platform, resolve
from podyard.images.tarball import GZIP_MAGIC, ZSTD_MAGIC, Files, Folder, Tarball
from podyard.model.reference import Reference, parse

CONTAINERD_NAME = "io.containerd.image.name"
OCI_NAME = "org.opencontainers.image.ref.name"

ARCHIVE_LIMIT = 64 << 30
"""Bytes of a compressed archive when it is decompressed."""


class _DockerImage(msgspec.Struct, rename="pascal"):
    """An entry of a docker archive's manifest.json."""

    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


@dataclass(frozen=True)
class Found:
    """An image of an archive, and its names there."""

    contents: Contents
    tags: tuple[Reference, ...]
    digest: str
    """The digest that names with a digest have; "" for a docker archive, which has none."""


class Archive:
    """An open archive: a source of the images in it."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._docker_layers: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path, content: ContentStore) -> AsyncIterator[Archive]:
        """An OCI layout's directory, or a tar archive, which may be compressed with gzip or zstd.

        Raises NotFound when it is not there, InvalidArgument when it is something else.
        """
        if path.is_dir():
            yield cls(path, Folder(path))
            return
        if not path.is_file():
            raise NotFound(f"there is no file or directory {path} that could hold images")
        magic = _magic(path)
        if magic[:2] != GZIP_MAGIC and magic != ZSTD_MAGIC:
            async with Tarball.opened(path) as tarball:
                yield cls(path, tarball)
            return
        with content.writer(None, None) as writer:
            try:
                await _decompress(path, magic, writer)
                async with Tarball.opened(writer.path) as tarball:
                    yield cls(path, tarball)
            finally:
                writer.path.unlink(missing_ok=True)

    async def images(self, host: Host) -> list[Found]:
        """The images for this host. Raises InvalidArgument when it is no archive of images, NotFound when none fits."""
        if "index.json" in self._files:
            return await self._of_layout(host)
        if "manifest.json" in self._files:
            return await self._of_docker(host)
        raise InvalidArgument(f"{self._path} holds no images: it has neither an index.json nor a manifest.json")

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest or configuration of an OCI layout."""
        data = await self._read(_blob(descriptor.digest))
        check_content(data, descriptor.digest, f"a document of {self._path}")
        return data

    async def layer(self, layer: Layer, writer: BlobWriter, on_bytes: OnBytes) -> None:
        """A layer's blob."""
        name = self._docker_layers[layer.diff_id] if layer.digest == "" else _blob(layer.digest)
        with self._files.open(name) as section:
            while data := await asyncio.to_thread(section.read, writer.offset, BLOCK):
                await writer.write(data)
                on_bytes(writer.offset)
        await writer.finish()

    async def _of_layout(self, host: Host) -> list[Found]:
        where = f"index.json of {self._path}"
        index = parse_manifest(await self._read("index.json"), where)
        if not isinstance(index, Index):
            raise InvalidArgument(f"{where} is no index")
        found: dict[str, Found] = {}
        refused: PodyardError | None = None
        for entry in index.manifests:
            if entry.media_type not in {*ACCEPTED, ""}:
                refused = Unimplemented(f"{where} lists {entry.digest}, which is no image but {entry.media_type!r}")
                continue
            data = await self.document(entry)
            try:
                contents = await resolve(self, entry, data, host, f"{entry.digest} in {self._path}")
            except (NotFound, Unimplemented) as error:
                # An image of another platform, as multi-platform layouts have them; a signature, or what else stands
                # beside images.
                refused = error
                continue
            earlier = found.get(entry.digest)
            tags = (*(earlier.tags if earlier else ()), *_names(entry, contents))
            found[entry.digest] = Found(contents, tuple(dict.fromkeys(tags)), entry.digest)
        if refused is not None and not found:
            raise refused
        return list(found.values())

    async def _of_docker(self, host: Host) -> list[Found]:
        entries = parse_json(await self._read("manifest.json"), list[_DockerImage], f"manifest.json of {self._path}")
        found = []
        for entry in entries:
            data = await self._read(entry.config)
            where = f"{entry.config[:200]!r} in {self._path}"
            configuration = parse_configuration(data, where)
            check_platform(configuration, host, where)
            names = entry.layers or []
            if len(names) != len(configuration.diff_ids):
                raise InvalidArgument(f"{where} has {len(configuration.diff_ids)} layers, the archive {len(names)}")
            layers = []
            for diff_id, name in zip(configuration.diff_ids, names, strict=True):
                with self._files.open(name) as section:
                    layers.append(Layer(diff_id, "", section.size, DOCKER_LAYER))
                self._docker_layers[diff_id] = name
            image_id = digest_of(data)
            contents = Contents(image_id, configuration, tuple(layers), {image_id: data})
            found.append(Found(contents, tuple(_name(tag, contents) for tag in entry.repo_tags or ()), ""))
        return found

    async def _read(self, name: str) -> bytes:
        with self._files.open(name) as section:
            if section.size > DOCUMENT_LIMIT:
                raise InvalidArgument(f"{name[:200]!r} in {self._path} is larger than {DOCUMENT_LIMIT} bytes")
            return await asyncio.to_thread(section.read, 0, DOCUMENT_LIMIT)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _names(entry: Descriptor, contents: Contents) -> list[Reference]:
    """The names that a layout's entry has. A bare tag, which the specification allows too, names no repository."""
    annotations = entry.annotations or {}
    if CONTAINERD_NAME in annotations:
        return [_name(annotations[CONTAINERD_NAME], contents)]
    name = annotations.get(OCI_NAME, "")
    try:
        return [_name(name, contents)] if "/" in name or ":" in name else []
    except InvalidArgument:
        # The specification allows more than can be an image's name.
        return []


def _name(text: str, contents: Contents) -> Reference:
    """A name that an archive gives an image.

    Raises InvalidArgument for one with a digest that is not the image's: who asks for it by digest wants that content.
    """
    name = parse(text)
    if name.digest and name.digest not in contents.manifests:
        raise InvalidArgument(f"the archive calls an image {text!r} that has not that digest")
    return name


def _magic(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4)


async def _decompress(path: Path, magic: bytes, writer: BlobWriter) -> None:
    file, damage = await asyncio.to_thread(_open_compressed, path, magic)
    with file:
        try:
            while data := await asyncio.to_thread(file.read, BLOCK):
                if writer.offset + len(data) > ARCHIVE_LIMIT:
                    raise InvalidArgument(f"{path} is larger than {ARCHIVE_LIMIT} bytes when decompressed")
                await writer.write(data)
        except damage as error:
            raise DataLoss(f"{path} is damaged or cut short: {error}") from error
    await writer.finish()


def _open_compressed(path: Path, magic: bytes) -> tuple[io.BufferedIOBase, tuple[type[Exception], ...]]:
    """The file, decompressed as it is read, and what reading a damaged one raises."""
    if magic[:2] == GZIP_MAGIC:
        return gzip.open(path, "rb"), (EOFError, gzip.BadGzipFile, zlib.error)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.open(path, "rb"), (EOFError, zstd.ZstdError)
