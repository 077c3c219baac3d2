"""How images are pulled and kept."""

from __future__ import annotations

import re
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
    hosts_dirs: list[Path] = msgspec.field(
        default_factory=lambda: [Path(f"/etc/{name}/certs.d") for name in ("containerd", "docker", "containers")]
    )
    """Directories with a directory for each registry, as containerd (hosts.toml) and docker (certificates) have them;
    the first that knows a registry counts. Certificates are found for mirrors too, by the mirror's own name."""
    registries_conf: Path = Path("/etc/containers/registries.conf")
    """containers' configuration of registries, version 2; the directory beside it, with ".d" added, has drop-ins. It
    counts for registries that have no hosts.toml in ``hosts_dirs``."""
    auth_files: list[Path] | None = None
    """Files with credentials (auth.json, docker's config.json), tried after a pull's own, in order. Without this key
    they are the ones of podman and docker: REGISTRY_AUTH_FILE, /run/containers/0/auth.json (or below XDG_RUNTIME_DIR),
    ~/.config/containers/auth.json, ~/.docker/config.json."""
    signature_policy: Path | None = Path("/etc/containers/policy.json")
    """containers' policy of signatures; where the file is missing, every image is accepted."""
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
    parts_age: Annotated[float, msgspec.Meta(ge=0)] = 3600.0
    """Seconds for which layers and parts of layers of failed pulls are kept for the next try."""
    gc_interval: Seconds = 300.0
    """Seconds between two looks for what may go: parts that are too old, and images when the disk is too full."""
    gc_threshold: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """Percent of the images' file system; when more is used, images that no container uses go, those first that were
    not used for longest, until it is 5 percent less. 0: never, since a kubelet does it itself."""
    parallel_layers: Count = 3
    """Layers that a pull fetches at the same time."""
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
    odd = url.query or url.fragment or "@" in url.netloc or url.port == 0
    if url.scheme not in {"", "http", "https"} or not url.netloc or odd:
        raise ValueError(
            f"the mirror {shown(text)!r} of {registry} must be a host, or an http or https URL without user and query"
        )
    return url.scheme, url.netloc, url.path.rstrip("/")


def shown(url: str) -> str:
    """A URL or a host as errors may have it: what stands before an "@" may be a password."""
    return re.sub(r"(?:(?<=://)|^(?!.*://)).*@", "...@", url)
