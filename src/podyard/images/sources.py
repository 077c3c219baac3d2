"""What a registry's repository and an archive have in common: documents and layers by digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from podyard.errors import InvalidArgument, NotFound
from podyard.images.content import BlobWriter
from podyard.images.manifest import (
    Configuration,
    Descriptor,
    Manifest,
    chain_ids,
    parse_configuration,
    parse_manifest,
)
from podyard.images.platforms import Host
from podyard.images.unpack.stack import check_media_type

NESTING_LIMIT = 3
"""How deep indexes may stand in indexes."""

OnBytes = Callable[[int], None]
"""Told how many bytes of a layer are here."""


@dataclass(frozen=True)
class Layer:
    """One layer of an image. ``digest`` is the blob's ("" where the source does not say)."""

    diff_id: str
    digest: str
    size: int
    media_type: str

    @property
    def key(self) -> str:
        """What makes two blobs the same."""
        return self.digest or self.diff_id


class Source(Protocol):
    """Where an image comes from."""

    async def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or configuration, verified. Raises NotFound, DataLoss, RegistryUnavailable ..."""
        ...

    async def layer(self, layer: Layer, writer: BlobWriter, on_bytes: OnBytes) -> None:
        """Write a layer's blob and verify it. Raises NotFound, DataLoss, RegistryUnavailable ..., OSError."""
        ...


@dataclass(frozen=True)
class Contents:
    """What one image is made of: its documents are here, its layers are still at the source."""

    image_id: str
    configuration: Configuration
    layers: tuple[Layer, ...]
    documents: dict[str, bytes]
    """The manifest, the indexes that led to it, and the configuration, by digest."""

    @property
    def chain(self) -> tuple[str, ...]:
        """The chain ids, the lowest first."""
        return chain_ids([layer.diff_id for layer in self.layers])

    @property
    def manifests(self) -> tuple[str, ...]:
        """The digests of the manifest and the indexes."""
        return tuple(digest for digest in self.documents if digest != self.image_id)


async def resolve(source: Source, top: Descriptor, data: bytes, host: Host, where: str) -> Contents:
    """Follow a manifest or index (``data``, verified) to the image for this host.

    Raises NotFound when there is none for it, InvalidArgument for malformed documents, and what the source raises.
    """
    return await _resolve(source, top, {top.digest: data}, host, where, chosen=False)


async def _resolve(
    source: Source, top: Descriptor, documents: dict[str, bytes], host: Host, where: str, *, chosen: bool
) -> Contents:
    """``documents``: those that led to ``top``, which is included. ``chosen``: an index has it for this host."""
    document = parse_manifest(documents[top.digest], where)
    if isinstance(document, Manifest):
        contents = await _contents(source, document, documents, where)
        # Many a configuration repeats its author's platform; what the index says counts, as in containerd.
        if not chosen:
            check_platform(contents.configuration, host, where)
        return contents
    if len(documents) > NESTING_LIMIT:
        raise InvalidArgument(f"{where} nests indexes more than {NESTING_LIMIT} deep")
    refused = None
    for entry in host.choices(document.manifests, where):
        name = f"{where} ({entry.digest})"
        try:
            more = documents | {entry.digest: await source.document(entry)}
            return await _resolve(source, entry, more, host, name, chosen=entry.platform is not None)
        except NotFound as error:
            refused = refused or error
    assert refused is not None
    raise refused


async def _contents(source: Source, manifest: Manifest, documents: dict[str, bytes], where: str) -> Contents:
    data = await source.document(manifest.config)
    configuration = parse_configuration(data, f"the configuration of {where}")
    for layer in manifest.layers:
        check_media_type(layer.media_type)
    diff_ids = configuration.diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise InvalidArgument(
            f"{where} has {len(manifest.layers)} layers in its manifest but {len(diff_ids)} in its configuration"
        )
    layers = tuple(
        Layer(diff_id, layer.digest, layer.size, layer.media_type)
        for diff_id, layer in zip(diff_ids, manifest.layers, strict=True)
    )
    return Contents(manifest.config.digest, configuration, layers, documents | {manifest.config.digest: data})


def check_platform(configuration: Configuration, host: Host, where: str) -> None:
    """Raise NotFound when an image is for another platform."""
    if not host.runs(configuration.os, configuration.architecture):
        raise NotFound(f"{where} is for {configuration.os}/{configuration.architecture}, this host is {host}")
