"""containerd's configuration of registries: a directory for each, with a file hosts.toml or with certificates only.

Sources of the rules: containerd's documentation of hosts.toml (docs/hosts.md), and docker's of certs.d for directories
without that file: ``*.crt`` are authorities, ``*.cert`` with ``*.key`` of the same name are client certificates.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from podyard.errors import FailedPrecondition
from podyard.images.config import shown
from podyard.images.registries.endpoint import API_ROOT, Endpoint, Tls

FILE = "hosts.toml"
SIZE_LIMIT = 1 << 20
"""Bytes of a configuration file."""

_CAPABILITIES = ("pull", "resolve", "push", "referrers")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")

Texts = str | list[str]


class _Host(msgspec.Struct, frozen=True):
    """The keys of a host's table; at the top of the file they are the server's."""

    capabilities: list[str] | None = None
    ca: Texts = ()  # type: ignore[assignment]  # an empty default of either type
    client: str | list[Texts] = ()  # type: ignore[assignment]
    skip_verify: bool | None = None
    header: dict[str, Texts] = {}
    override_path: bool = False
    dial_timeout: str = ""
    proxy: str = ""


class _File(_Host, frozen=True):
    server: str = ""
    host: dict[str, _Host] = {}


def endpoints(folders: Sequence[Path], registry: str, server: str) -> list[Endpoint] | None:
    """The endpoints of ``registry`` as the first directory that knows it has them, the registry's own the last.

    ``server``: the registry's host where the file names none. None when no directory knows the registry, or the one
    that does has certificates only.

    Raises FailedPrecondition, naming the file, for a file that cannot be read.
    """
    for folder in folders:
        for name in _names(registry):
            if (folder / name / FILE).is_file():
                return _of_file(folder / name / FILE, registry, server)
            if _of_certificates(folder / name) != Tls():
                return None
    return None


def certificates(folders: Sequence[Path], host: str) -> Tls:
    """What the first directory with certificates, and no hosts.toml, has for a host."""
    for folder in folders:
        for name in _names(host):
            if not (folder / name / FILE).is_file() and (tls := _of_certificates(folder / name)) != Tls():
                return tls
    return Tls()


def _names(registry: str) -> list[str]:
    """The directories that may be a registry's. Where a name cannot have a colon, containerd has a way around it."""
    host, colon, port = registry.rpartition(":")
    return [*([f"{host}_{port}_"] if colon else []), registry, "_default"]


def _of_file(path: Path, registry: str, server: str) -> list[Endpoint]:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise FailedPrecondition(f"{path} is larger than {SIZE_LIMIT} bytes")
        text = path.read_text(encoding="utf-8")
        # Tables keep the order of the file, which is the order in which the hosts are asked.
        parsed = msgspec.convert(tomllib.loads(text), _File)
        hosts = [_endpoint(name, host, path.parent) for name, host in parsed.host.items()]
        own = _endpoint(parsed.server or server, parsed, path.parent)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise FailedPrecondition(f"the registry configuration {path} cannot be used: {error}") from error
    for host in hosts:
        host.mirror = host.host not in {own.host, server}
    # As in containerd, also where a mirror stands as the server, so that nobody else is asked.
    for host in (*hosts, own):
        host.shared = host.host not in {registry, server}
    # A table for the server itself says how it is spoken to.
    return hosts if any(_same(host, own) for host in hosts) else [*hosts, own]


def _same(one: Endpoint, other: Endpoint) -> bool:
    return (one.host, one.root, one.schemes[-1:]) == (other.host, other.root, other.schemes[-1:])


def _endpoint(text: str, host: _Host, folder: Path) -> Endpoint:
    url = urlsplit(text if "://" in text else f"//{text}")
    odd = url.query or url.fragment or "@" in url.netloc or url.port == 0
    if url.scheme not in {"", "http", "https"} or not url.netloc or odd:
        raise ValueError(f"{shown(text)!r} is no host and no http or https URL without user and query")
    path = url.path.rstrip("/")
    if not host.override_path and not path.endswith(API_ROOT):
        path = posixpath.join(path, API_ROOT.lstrip("/")) if path else API_ROOT
    # As in containerd: an empty list is none at all, and case does not matter.
    capabilities = [name.lower() for name in host.capabilities or ("pull", "resolve")]
    unknown = set(capabilities).difference(_CAPABILITIES)
    if unknown:
        known = ", ".join(_CAPABILITIES)
        raise ValueError(f"{text}: {', '.join(sorted(unknown))} is no capability ({known})")
    schemes: tuple[str, ...] = (url.scheme,) if url.scheme else ()
    secure = host.skip_verify is not None or bool(host.ca or host.client)
    if url.scheme == "http" and secure and url.port != 80:
        # As in containerd: who says how TLS is spoken does not mean plain HTTP.
        schemes = ("https", "http")
    return Endpoint(
        url.netloc,
        root=path,
        schemes=schemes,
        resolves="resolve" in capabilities,
        pulls="pull" in capabilities,
        tls=Tls(
            tuple(folder / name for name in _list(host.ca)),
            tuple(_client(entry, folder) for entry in ([host.client] if isinstance(host.client, str) else host.client)),
            not host.skip_verify,
        ),
        headers=_headers(host.header),
        connect_timeout=_seconds(host.dial_timeout) if host.dial_timeout else None,
        proxy=_proxy(host.proxy) if host.proxy else "",
    )


def _client(entry: Texts, folder: Path) -> tuple[Path, Path | None]:
    """A file of certificate and key, or a pair of files."""
    files = [folder / name for name in _list(entry) if name]
    if len(files) not in {1, 2}:
        raise ValueError("client must be a file, or a list of files and of pairs of certificate and key")
    return files[0], files[1] if len(files) == 2 else None


def _headers(header: Mapping[str, Texts]) -> tuple[tuple[str, str], ...]:
    headers = tuple((name, value) for name, values in header.items() for value in _list(values))
    for name, value in headers:
        if not name.isascii() or not name.isprintable() or not value.isprintable():
            raise ValueError(f"the header {name!r} has characters that no header can have")
    return headers


def _seconds(duration: str) -> float:
    """A duration as Go writes it ("1m30s")."""
    parts = _DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"dial_timeout is {duration!r}, which should be like 500ms, 5s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _proxy(text: str) -> str:
    url = urlsplit(text)
    odd = url.path.strip("/") or url.query or url.fragment or url.port == 0
    if url.scheme not in {"http", "https"} or not url.hostname or odd:
        raise ValueError(f"the proxy {shown(text)!r} must be an http or https URL without a path")
    return text


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _of_certificates(folder: Path) -> Tls:
    authorities = tuple(sorted(folder.glob("*.crt")))
    clients = tuple(
        (certificate, certificate.with_suffix(".key"))
        for certificate in sorted(folder.glob("*.cert"))
        if certificate.with_suffix(".key").is_file()
    )
    return Tls(authorities, clients)
