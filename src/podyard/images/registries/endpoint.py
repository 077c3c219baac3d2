"""One place to ask for an image, and how it is spoken to."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from podyard.images.auth import Credentials

API_ROOT = "/v2"
"""Where a registry serves its calls (OCI distribution specification)."""


@dataclass(frozen=True)
class Tls:
    """Whom a host is believed to be, and who we are to it. The files are PEM."""

    authorities: tuple[Path, ...] = ()
    """Files of authorities that are trusted besides the system's."""
    clients: tuple[tuple[Path, Path | None], ...] = ()
    """Certificates to show, each with its key; without one the key is in the certificate's file."""
    verify: bool = True


@dataclass
class Endpoint:
    """A registry or a mirror of it, and what it knows us by for one repository."""

    host: str
    """"host" or "host:port"."""
    repository: str = ""
    """The repository's name there; "" is the reference's."""
    root: str = API_ROOT
    """The path under which the calls are."""
    schemes: tuple[str, ...] = ()
    """What is tried, in order; () leaves it to the transport. After the first answer the one that led to it."""
    resolves: bool = True
    """Whether it may say what a tag means."""
    pulls: bool = True
    """Whether it may be asked for content by digest."""
    mirror: bool = False
    """It gets no credentials of a pull that do not name it."""
    shared: bool = False
    """Whether it may serve several registries, and is told which one is meant, as mirrors are."""
    tls: Tls = Tls()
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with each request to it, never to where it redirects."""
    connect_timeout: float | None = None
    """Seconds for one connection to it; None is the configuration's."""
    proxy: str = field(default="", repr=False)
    """The URL of the proxy to it, whatever the environment says; "" leaves it to the environment."""
    credentials: list[Credentials] = field(default_factory=list)
    """Tried in order; the first is in use."""
    problems: tuple[str, ...] = ()
    """Why there are not more of them."""
    authorization: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


def is_loopback(host: str) -> bool:
    """Whether "host[:port]" is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
