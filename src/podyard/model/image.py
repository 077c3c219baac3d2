"""What podyard knows of an image."""

from __future__ import annotations

import msgspec


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose layers are unpacked on this host."""

    id: str
    """The digest of its configuration ("sha256:…")."""
    repo_tags: tuple[str, ...] = ()
    """Its names with a tag ("docker.io/library/busybox:latest")."""
    repo_digests: tuple[str, ...] = ()
    """Its names with a digest ("docker.io/library/busybox@sha256:…")."""
    size: int
    """Bytes on the disk: the unpacked layers and the configuration. Never 0."""
    user: str = ""
    """The configuration's user: "", "uid", "name", "uid:gid" or "name:group"."""
    layers: tuple[str, ...] = ()
    """The chain ids of its layers, the lowest first (OCI image specification, config.md, Layer ChainID)."""
    pinned: bool = False
    """Whether the kubelet must not remove it to gain space."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an image wants to be run (OCI image specification, config.md)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Each "NAME=value"."""
    working_dir: str = ""
    user: str = ""
    volumes: tuple[str, ...] = ()
    """Paths at which a container gets storage of its own."""
    stop_signal: str = ""
    labels: dict[str, str] = {}
    architecture: str = ""
    """As Go names it ("amd64")."""
    os: str = ""
