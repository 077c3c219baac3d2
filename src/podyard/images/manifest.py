"""Manifests, indexes and configurations of images, parsed with limits.

Sources of the rules: the OCI image specification (manifest.md, image-index.md, config.md, descriptor.md) and docker's
image manifest version 2, schema 2, which differs in its media types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from podyard.errors import InvalidArgument, Unimplemented
from podyard.model.image import ImageConfig
from podyard.model.reference import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

ACCEPTED = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
"""The media types that a registry may answer a request for a manifest with."""

DOCUMENT_LIMIT = 4 << 20
"""Bytes of a manifest, index or configuration: what the distribution specification obliges registries to take."""
LAYERS_LIMIT = 500
"""Layers of an image: what overlayfs stacks at most (kernel, OVL_MAX_STACK)."""
ENTRIES_LIMIT = 1000
"""Manifests of an index."""

Document = TypeVar("Document")


class Platform(msgspec.Struct, frozen=True):
    """What a manifest's image runs on."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """Points to content: its digest and its size in bytes."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None


class Manifest(msgspec.Struct, frozen=True):
    """One image for one platform."""

    config: Descriptor
    given: list[Descriptor] | None = msgspec.field(name="layers")

    @property
    def layers(self) -> list[Descriptor]:
        """The layers, the lowest first. Go writes an empty list as null."""
        return self.given or []


class Index(msgspec.Struct, frozen=True):
    """Images for several platforms."""

    manifests: list[Descriptor]


class Settings(msgspec.Struct, frozen=True, rename="pascal"):
    """The member ``config`` of a configuration."""

    user: str | None = None
    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class RootFs(msgspec.Struct, frozen=True):
    """The digests of the uncompressed layers, the lowest first."""

    diff_ids: list[str] | None = None


class Configuration(msgspec.Struct, frozen=True):
    """An image's configuration, whose digest is the image's id."""

    architecture: str = ""
    os: str = ""
    config: Settings | None = None
    rootfs: RootFs = RootFs()

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the uncompressed layers, the lowest first."""
        return tuple(self.rootfs.diff_ids or ())

    def settings(self) -> ImageConfig:
        """What the runtime needs to know."""
        config = self.config or Settings()
        return ImageConfig(
            entrypoint=_words(config.entrypoint),
            cmd=_words(config.cmd),
            env=tuple(entry for entry in config.env or () if "=" in entry),
            working_dir=config.working_dir or "",
            user=config.user or "",
            volumes=tuple(config.volumes or ()),
            stop_signal=config.stop_signal or "",
            labels=config.labels or {},
            architecture=self.architecture,
            os=self.os,
        )


class _Probe(msgspec.Struct, frozen=True, rename="camel"):
    """As much of a document as tells which one it is."""

    schema_version: int = 0
    media_type: str = ""
    config: msgspec.Raw = msgspec.Raw()
    layers: msgspec.Raw = msgspec.Raw()
    manifests: msgspec.Raw = msgspec.Raw()
    fs_layers: msgspec.Raw = msgspec.Raw()


def parse_manifest(data: bytes, where: str) -> Manifest | Index:
    """A manifest or an index, told apart by what they hold.

    A document that could be read as both is refused: signers and runtimes might read it differently
    (CVE-2021-41190).

    Raises InvalidArgument for a malformed one, Unimplemented for docker's schema 1 and for artifacts that are no image.
    """
    probe = _decode(data, _Probe, where)
    if probe.schema_version == 1 or probe.fs_layers:
        raise Unimplemented(f"{where} is in docker's manifest schema 1, which nothing can verify: push the image again")
    if bool(probe.manifests) == bool(probe.layers or probe.config):
        raise InvalidArgument(f"{where} is neither clearly a manifest nor clearly an index")
    if probe.manifests:
        index = _decode(data, Index, where)
        _check(index.manifests, ENTRIES_LIMIT, where)
        return index
    manifest = _decode(data, Manifest, where)
    _check([manifest.config], 1, where)
    _check(manifest.layers, LAYERS_LIMIT, where)
    if manifest.config.media_type not in {OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", ""}:
        raise Unimplemented(f"{where} is no image but an artifact of type {manifest.config.media_type!r}")
    for layer in manifest.layers:
        if "foreign" in layer.media_type and layer.urls:
            raise Unimplemented(f"{where} has a layer that only its vendor distributes ({layer.digest})")
    return manifest


def parse_configuration(data: bytes, where: str) -> Configuration:
    """An image's configuration. Raises InvalidArgument for a malformed one."""
    configuration = _decode(data, Configuration, where)
    if len(configuration.diff_ids) > LAYERS_LIMIT:
        raise InvalidArgument(f"{where} has more than {LAYERS_LIMIT} layers")
    for diff_id in configuration.diff_ids:
        if not is_digest(diff_id):
            raise InvalidArgument(f"{where}: {diff_id[:160]!r} is no digest")
    return configuration


def parse_json(data: bytes, kind: type[Document], where: str) -> Document:
    """Another document of an archive. Raises InvalidArgument for a malformed one."""
    return _decode(data, kind, where)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The name of each stack of layers from the lowest up to one (config.md, Layer ChainID)."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(f"sha256:{hashlib.sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}" if chain else diff_id)
    return tuple(chain)


def _check(descriptors: Sequence[Descriptor], limit: int, where: str) -> None:
    if len(descriptors) > limit:
        raise InvalidArgument(f"{where} lists {len(descriptors)} parts; {limit} are allowed")
    for descriptor in descriptors:
        if not is_digest(descriptor.digest):
            raise InvalidArgument(f"{where}: {descriptor.digest[:160]!r} is no digest that can be verified")
        if descriptor.size < 0:
            raise InvalidArgument(f"{where}: {descriptor.digest} has the impossible size {descriptor.size}")


def _decode(data: bytes, kind: type[Document], where: str) -> Document:
    if len(data) > DOCUMENT_LIMIT:
        raise InvalidArgument(f"{where} is larger than {DOCUMENT_LIMIT} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{where} cannot be read: {error}") from error


def _words(value: list[str] | str | None) -> tuple[str, ...]:
    # Docker's oldest images have a shell line where a list belongs.
    return ("/bin/sh", "-c", value) if isinstance(value, str) and value else tuple(value or ())
