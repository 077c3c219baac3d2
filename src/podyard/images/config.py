"""How images are pulled and kept."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ImagesConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The table ``[images]`` of the configuration."""

    insecure_registries: list[str] = []
    """Registries ("host" or "host:port") that are spoken to in plain HTTP. Loopback ones are tried with HTTPS first,
    then in plain HTTP, without being named here."""
    mirrors: dict[str, list[str]] = {}
    """Endpoints that are asked before a registry, in order: "host", "host:port", or a URL with a path to put before
    /v2/. They never see the credentials of a pull, unless these name them (AuthConfig.server_address)."""
    ca_file: Path | None = None
    """Certificates (PEM) of authorities to trust besides the system's."""
    connect_timeout: float = 15.0
    """Seconds for one connection to a registry, TLS included."""
    progress_timeout: float = 60.0
    """Seconds without one byte after which a connection counts as cut."""
    attempts: int = 5
    """How often a request is tried without any progress before the registry counts as unavailable."""
    retry_delay: float = 0.5
    """Seconds before the second attempt; each further one waits twice as long."""
    retry_delay_limit: float = 30.0
    """The longest wait before an attempt, Retry-After included."""
    parallel_layers: int = 3
    """Layers fetched at the same time, over all pulls."""
    platform_variant: str = ""
    """The CPU variant to prefer ("v7"); "" takes this host's."""
    pinned: list[str] = []
    """Names of images that the kubelet must not remove to gain space."""
