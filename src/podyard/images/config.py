"""How images are pulled and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from podyard.errors import InvalidArgument
from podyard.model.reference import parse

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


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
    connect_timeout: Seconds = 15.0
    """Seconds for one connection to a registry, TLS included."""
    progress_timeout: Seconds = 60.0
    """Seconds without one byte after which a connection counts as cut."""
    attempts: Count = 5
    """How often a request is tried without any progress before the registry counts as unavailable."""
    retry_delay: Seconds = 0.5
    """Seconds before the second attempt; each further one waits twice as long."""
    retry_delay_limit: Seconds = 30.0
    """The longest wait before an attempt, Retry-After included."""
    parallel_layers: Count = 3
    """Layers fetched at the same time, over all pulls."""
    platform_variant: str = ""
    """The CPU variant to prefer ("v7"); "" takes this host's."""
    pinned: list[str] = []
    """Names of images that the kubelet must not remove to gain space."""

    def __post_init__(self) -> None:
        for registry, endpoints in self.mirrors.items():
            for endpoint in endpoints:
                split_endpoint(endpoint, registry)
        for name in self.pinned:
            try:
                parse(name)
            except InvalidArgument as error:
                raise ValueError(f"pinned: {error}") from error


def split_endpoint(text: str, registry: str) -> tuple[str, str, str]:
    """The scheme ("" where none is given), the host with its port, and the path of a mirror of ``registry``.

    Raises ValueError.
    """
    url = urlsplit(text if "://" in text else f"//{text}")
    if url.scheme not in {"", "http", "https"} or not url.netloc or url.query or url.fragment or "@" in url.netloc:
        raise ValueError(f"the mirror {text!r} of {registry} must be a host, or an http or https URL without a query")
    return url.scheme, url.netloc, url.path.rstrip("/")
