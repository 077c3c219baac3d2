"""Registry credentials from a Pod's imagePullSecrets (Kubernetes documentation, "Pull an Image from a Private Registry"
and "Images", interpretation of config.json)."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from podyard.cri import api
from podyard.manifest.objects import DOCKER_CONFIG, DOCKER_CONFIG_JSON, Secret

DEFAULT_REGISTRY = "docker.io"
_DOCKER_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})


@dataclass(frozen=True)
class Credential:
    """Who asks, at the registries and paths of one pattern."""

    host: str
    """May hold ``*`` within its parts between dots."""
    path: str
    """"" for all, else a path's beginning."""
    auth: api.AuthConfig

    def fits(self, host: str, path: str) -> bool:
        """Whether it is for an image's registry and path."""
        parts, wanted = host.split("."), self.host.split(".")
        same = len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
        return same and (not self.path or path == self.path or path.startswith(f"{self.path}/"))


def credentials_for(image: str, secrets: Iterable[Secret]) -> list[api.AuthConfig]:
    """What may open the image's registry, those for the longest path first, then in the order of the secrets."""
    host, path = _place(image)
    fitting = [found for secret in secrets for found in _credentials(secret) if found.fits(host, path)]
    return [found.auth for found in sorted(fitting, key=lambda found: -len(found.path))]


def _place(image: str) -> tuple[str, str]:
    """The registry's host and the path of an image's reference."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = DEFAULT_REGISTRY, image
    name = rest.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    path = folder + slash + last.partition(":")[0]
    if first in _DOCKER_HUB:
        return DEFAULT_REGISTRY, path if "/" in path else f"library/{path}"
    return first, path


def _credentials(secret: Secret) -> list[Credential]:
    """Those of a secret that holds a docker configuration; what cannot be read in it is left out, as kubelets do it."""
    try:
        if secret.type == DOCKER_CONFIG_JSON:
            entries = json.loads(secret.data.get(".dockerconfigjson", b"{}")).get("auths", {})
        elif secret.type == DOCKER_CONFIG:
            entries = json.loads(secret.data.get(".dockercfg", b"{}"))
        else:
            return []
        return [
            Credential(*_pattern(where), auth)
            for where, entry in entries.items()
            if isinstance(entry, dict) and (auth := _auth(entry)) is not None
        ]
    except (ValueError, AttributeError, RecursionError):
        return []


def _pattern(where: str) -> tuple[str, str]:
    host, _, path = where.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    if host in _DOCKER_HUB:
        host = DEFAULT_REGISTRY
    return host, "" if path in ("v1", "v2") else path


def _auth(entry: dict[str, Any]) -> api.AuthConfig | None:
    username, password = entry.get("username", ""), entry.get("password", "")
    if encoded := entry.get("auth", ""):
        try:
            # base64(1) breaks long lines.
            text = base64.b64decode("".join(encoded.splitlines()), validate=True).decode()
        except (binascii.Error, ValueError, TypeError, AttributeError):
            return None
        username, _, password = text.rstrip("\0").partition(":")
    token = entry.get("identitytoken", "")
    if not all(isinstance(value, str) for value in (username, password, token)) or not (username or token):
        return None
    return api.AuthConfig(username=username, password=password, identity_token=token)
