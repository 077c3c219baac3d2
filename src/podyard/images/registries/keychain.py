"""Credentials that the host has: auth.json, docker's config.json, and credential helpers.

Sources of the rules: containers-auth.json(5), docker's documentation of config.json, and the protocol of
docker-credential-helpers: the program ``docker-credential-NAME get`` reads a server's name and writes JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podyard.errors import InvalidArgument, PodyardError
from podyard.images.auth import Credentials, decode_pair
from podyard.images.registries.hosts_toml import SIZE_LIMIT
from podyard.linux import process
from podyard.model.reference import DEFAULT_REGISTRY

logger = logging.getLogger(__name__)

HELPER_LIMIT = 30.0
"""Seconds that a credential helper may take."""
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""What docker calls docker.io in its configuration, and asks helpers for."""

_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")


class _Entry(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _File(msgspec.Struct, frozen=True, rename="camel"):
    auths: dict[str, _Entry] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    username: str = ""
    secret: str = ""


@dataclass
class Found:
    """What the host has for one repository, the most specific first, and what kept it from having more."""

    credentials: list[Credentials] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def telling(self, registry: str, where: object) -> Iterator[None]:
        """Take an error as a problem of a file, or of what else has credentials."""
        try:
            yield
        except PodyardError as error:
            problem = f"{where}: {error}"
            logger.warning("credentials for %s: %s", registry, problem)
            self.problems.append(problem)


def default_files(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where podman, CRI-O and docker keep what a login gave them, in podman's order."""
    home = Path(environment.get("HOME") or "/root")
    session = environment.get("XDG_RUNTIME_DIR")
    runtime = Path(session) / "containers" if session else Path(f"/run/containers/{os.getuid()}")
    chosen = environment.get("REGISTRY_AUTH_FILE")
    return [
        *([Path(chosen)] if chosen else []),
        runtime / "auth.json",
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json",
        Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
    ]


async def find(files: Sequence[Path], registry: str, repository: str, helpers: Sequence[str] = ()) -> Found:
    """The credentials for a repository: those of the files, then those of further helpers (registries.conf).

    What cannot be read is told in ``problems`` and in the log, and passed over.
    """
    found = Found()
    for path in files:
        with found.telling(registry, path):
            parsed = await asyncio.to_thread(_read, path)
            if parsed is None:
                continue
            # A helper for the registry comes before the store of all, and that before what the file has itself.
            with found.telling(registry, path):
                found.credentials += await _of_helper(parsed, registry)
            found.credentials += _of_file(parsed, registry, repository)
    for helper in helpers:
        with found.telling(registry, "credential-helpers of registries.conf"):
            answer = await _ask(helper, registry)
            found.credentials += [answer] if answer is not None else []
    return found


def _read(path: Path) -> _File | None:
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidArgument(f"cannot be read: {error.strerror}") from error
    try:
        if len(data) > SIZE_LIMIT:
            raise InvalidArgument(f"larger than {SIZE_LIMIT} bytes")
        return msgspec.convert(json.loads(data, object_pairs_hook=_stated), _File)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        # The error's text names a position and a type, never a value.
        raise InvalidArgument(f"cannot be read: {error}") from None


def _stated(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object of the file, without what it has as null: in Go that is as good as absent."""
    return {key: value for key, value in pairs if value is not None}


def _keys(registry: str) -> list[str]:
    return [registry] if registry != DEFAULT_REGISTRY else [DOCKER_HUB_KEY, registry, "index.docker.io"]


async def _of_helper(file: _File, registry: str) -> list[Credentials]:
    keys = _keys(registry)
    # docker and podman name docker.io differently, to helpers too: the key tells who has logged in.
    key = next((key for key in keys if key in file.cred_helpers), keys[0])
    helper = file.cred_helpers.get(key, file.creds_store)
    answer = await _ask(helper, key) if helper else None
    return [answer] if answer is not None else []


def _of_file(file: _File, registry: str, repository: str) -> list[Credentials]:
    for key in _matching(file.auths, _keys(registry), registry, repository):
        if (made := _credentials(file.auths[key])) is not None:
            return [made]
    return []


def _matching(auths: Mapping[str, _Entry], keys: Sequence[str], registry: str, repository: str) -> list[str]:
    """The names under which entries stand: whole repository first, then what is above it, then the registry."""
    parts = repository.split("/")
    scopes = [f"{registry}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
    exact = [key for key in (*scopes, *keys) if key in auths]
    return [*exact, *(key for key in auths if key not in exact and _registry(key) == registry)]


def _registry(key: str) -> str:
    """The registry that a key like "https://host/v1/" is for; "" where it is for a part of one.

    As docker and podman read them, the path of a URL says nothing.
    """
    scheme, _, place = key.rpartition("://")
    host, _, path = place.partition("/")
    if not scheme and path.strip("/") not in {"", "v1", "v2"}:
        return ""
    return DEFAULT_REGISTRY if host in {"index.docker.io", "registry-1.docker.io"} else host


def _credentials(entry: _Entry) -> Credentials | None:
    """None for an entry that only says that a helper has them."""
    username, password = entry.username, entry.password
    if entry.auth:
        username, password = decode_pair(entry.auth)
    if not (username or entry.identitytoken or entry.registrytoken):
        return None
    return Credentials(username, password, entry.identitytoken, entry.registrytoken)


async def _ask(helper: str, server: str) -> Credentials | None:
    """What a helper has for a server. Raises PodyardError when it fails; that it has nothing is no failure."""
    if not _HELPER_NAME.fullmatch(helper):
        raise InvalidArgument(f"{helper!r} cannot be a credential helper's name")
    program = f"docker-credential-{helper}"
    done = await process.run([program, "get"], stdin=server.encode(), limit=HELPER_LIMIT)
    said = done.stdout.decode(errors="replace").strip()
    if done.code != 0:
        if _NOT_FOUND in said:
            return None
        words = (said or done.stderr.decode(errors="replace").strip() or "it said nothing")[:200]
        raise InvalidArgument(f"{program} failed with exit code {done.code}: {words}")
    try:
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the answer of {program} cannot be read: {error}") from None
    if answer.username == _TOKEN_USER:
        return Credentials(identity_token=answer.secret)
    return Credentials(answer.username, answer.secret) if answer.username else None
