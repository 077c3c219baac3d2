"""containers' registries.conf, version 2, and its drop-ins.

Source of the rules: containers-registries.conf(5) and containers-registries.conf.d(5). ``aliases`` are left out on
purpose: a short name means the same on all nodes of a cluster, whichever packages a node has.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from podyard.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from podyard.images.config import shown
from podyard.images.registries.endpoint import Endpoint, Tls
from podyard.images.registries.hosts_toml import SIZE_LIMIT
from podyard.model.reference import Reference, parse

AUTH_FILES = "containers-auth.json"
"""What stands for the files with credentials among the helpers. They are read in any case."""

_WILDCARD = re.compile(r"\*(\.[A-Za-z0-9-]+)+")
_PORT = re.compile(r":\d+$")


class _Mirror(msgspec.Struct, rename="kebab"):
    location: str
    insecure: bool = False
    pull_from_mirror: Literal["", "all", "digest-only", "tag-only"] = ""

    def __post_init__(self) -> None:
        self.location = _place(self.location)


class _Registry(msgspec.Struct, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror: list[_Mirror] = []
    mirror_by_digest_only: bool = False

    def __post_init__(self) -> None:
        self.prefix, self.location = _place(self.prefix), _place(self.location)
        if "*" in self.scope and not _WILDCARD.fullmatch(self.scope):
            raise ValueError(f"{self.scope!r} must be of the form *.example.com, without a port or a path")

    @property
    def scope(self) -> str:
        return self.prefix or self.location


class _File(msgspec.Struct, rename="kebab"):
    unqualified_search_registries: list[str] | None = None
    credential_helpers: list[str] | None = None
    registry: list[_Registry] = []
    registries: msgspec.Raw | dict[str, object] | None = None
    """The table of version 1."""

    def __post_init__(self) -> None:
        if self.unqualified_search_registries is not None:
            self.unqualified_search_registries = [_place(text) for text in self.unqualified_search_registries]


@dataclass(frozen=True)
class RegistriesConf:
    """The file and its drop-ins, put together."""

    search: tuple[str, ...] = ()
    """Where names without a registry are looked for, in order; () leaves docker.io."""
    registries: tuple[_Registry, ...] = ()
    helpers: tuple[str, ...] = ()
    """Credential helpers to ask for each registry."""

    def endpoints(self, reference: Reference) -> list[Endpoint] | None:
        """The endpoints for a reference; None when the file says nothing of it.

        Raises PermissionDenied when the file blocks it.
        """
        found = self._longest(reference)
        if found is None:
            return None
        if found.blocked:
            raise PermissionDenied(f"{reference} is blocked by the registry {found.scope!r} of registries.conf")
        location = _rewritten(reference, found.scope, found.location)
        mirrors = [
            _endpoint(_rewritten(reference, found.scope, mirror.location), mirror.insecure, mirror=True)
            for mirror in found.mirror
            if _used(mirror, found, reference)
        ]
        return [*mirrors, _endpoint(location, found.insecure, mirror=False)]

    def _longest(self, reference: Reference) -> _Registry | None:
        matching = [registry for registry in self.registries if _covers(registry.scope, reference)]
        # A wildcard covers more than any prefix that is written out.
        return max(matching, key=lambda one: (not one.scope.startswith("*"), len(one.scope)), default=None)


def load(path: Path) -> RegistriesConf:
    """The file, if it is there, and the files of the directory beside it ("registries.conf.d") in their names' order.

    A later file replaces the lists, and registries of the same prefix. Raises FailedPrecondition, naming the
    file, for one that cannot be read.
    """
    search: list[str] = []
    helpers: list[str] = []
    registries: dict[str, _Registry] = {}
    files = [path] if path.is_file() else []
    for source in [*files, *sorted(Path(f"{path}.d").glob("*.conf"))]:
        parsed = _read(source)
        if parsed.unqualified_search_registries is not None:
            search = parsed.unqualified_search_registries
        if parsed.credential_helpers is not None:
            helpers = parsed.credential_helpers
        registries.update({registry.scope: registry for registry in parsed.registry})
    asked = tuple(helper for helper in helpers if helper != AUTH_FILES)
    return RegistriesConf(tuple(search), tuple(registries.values()), asked)


def _read(path: Path) -> _File:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise FailedPrecondition(f"{path} is larger than {SIZE_LIMIT} bytes")
        parsed = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise FailedPrecondition(f"the registry configuration {path} cannot be used: {error}") from error
    if any(not registry.scope for registry in parsed.registry):
        raise FailedPrecondition(f"{path}: a [[registry]] has neither a prefix nor a location")
    if parsed.registries is not None:
        raise FailedPrecondition(f"{path} is in version 1 of its format: write it in version 2 ([[registry]] tables)")
    return parsed


def _place(text: str) -> str:
    """A prefix or a location, without slashes at its end."""
    if "://" in text:
        raise ValueError(f"{shown(text)!r} must be a host, with a path if need be, and no URL")
    return text.rstrip("/")


def _covers(scope: str, reference: Reference) -> bool:
    """Whether a scope is a reference's registry, or a part of its name up to a separator."""
    if scope.startswith("*."):
        return _host(reference).endswith(scope[1:])
    whole = str(reference)
    return whole == scope or (
        whole.startswith(scope) and whole[len(scope)] in "/:@" and len(scope) >= _least(reference)
    )


def _least(reference: Reference) -> int:
    # A scope "host" must not cover "host:port".
    return len(reference.registry)


def _rewritten(reference: Reference, scope: str, location: str) -> str:
    """The name with the scope replaced by the location."""
    if not location:
        return reference.name
    # A wildcard is for the host's name alone; another scope may reach into the tag or the digest.
    covered = len(_host(reference)) if scope.startswith("*.") else min(len(scope), len(reference.name))
    name = location + reference.name[covered:]
    try:
        parse(name)
    except InvalidArgument as error:
        raise FailedPrecondition(f"the location {location!r} of {scope!r} in registries.conf: {error}") from error
    return name


def _host(reference: Reference) -> str:
    """The registry without its port."""
    return _PORT.sub("", reference.registry)


def _used(mirror: _Mirror, registry: _Registry, reference: Reference) -> bool:
    kind = mirror.pull_from_mirror or ("digest-only" if registry.mirror_by_digest_only else "all")
    return kind == "all" or (kind == "digest-only") == bool(reference.digest)


def _endpoint(name: str, insecure: bool, *, mirror: bool) -> Endpoint:
    host, _, repository = name.partition("/")
    schemes = ("https", "http") if insecure else ()
    return Endpoint(host, repository, schemes=schemes, mirror=mirror, tls=Tls(verify=not insecure))
