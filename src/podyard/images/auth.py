"""Who podyard is to a registry: credentials, and the tokens that they are exchanged for.

Sources of the rules: RFC 7235 (WWW-Authenticate), RFC 7617 (Basic), and the distribution project's token
authentication specification.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from podyard.cri import api
from podyard.errors import InvalidArgument

# A scheme stands at the beginning or after a comma, and no "=" follows it: it may be the second of one header.
_SCHEME = r"(?:^|,)\s*([A-Za-z0-9-]{1,64})(?=\s*(?:,|$)|\s+[^\s=])"
_PARAMETER = r'([A-Za-z0-9_-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))'
_CHALLENGES = re.compile(f"{_SCHEME}|{_PARAMETER}")


@dataclass(frozen=True)
class Credentials:
    """What a pull brought along. Its text form shows no secret."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """Is exchanged for access tokens (OAuth2, refresh_token)."""
    registry_token: str = field(default="", repr=False)
    """Is an access token already."""
    server: str = ""
    """The host that they are for; "" is the registry of the image's name."""

    @classmethod
    def of(cls, auth: api.AuthConfig) -> Credentials | None:
        """From a request; None where it has none. Raises InvalidArgument when ``auth.auth`` is not base64."""
        username, password = auth.username, auth.password
        if auth.auth and not username:
            username, password = decode_pair(auth.auth)
        made = cls(username, password, auth.identity_token, auth.registry_token, _host(auth.server_address))
        return None if made == cls(server=made.server) else made

    def basic(self) -> str:
        """The Authorization header of the Basic scheme."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def decode_pair(auth: str) -> tuple[str, str]:
    """User and password of the form that configuration files have. Raises InvalidArgument, without the value."""
    try:
        # base64(1) breaks long lines, and docker pads what it encodes with zero bytes.
        text = base64.b64decode("".join(auth.splitlines()), validate=True).decode().rstrip("\0")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    username, colon, password = text.partition(":")
    if not colon:
        raise InvalidArgument("the field auth of the image's credentials is not base64 of user:password")
    return username, password


@dataclass(frozen=True)
class Challenge:
    """One way in that a registry offers: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """The Bearer and Basic challenges of WWW-Authenticate headers."""
    found: list[Challenge] = []
    for header in headers:
        parameters: dict[str, str] = {}
        for scheme, key, quoted, plain in _CHALLENGES.findall(header):
            if scheme:
                parameters = {}
                found.append(Challenge(scheme.lower(), parameters))
            else:
                parameters[key.lower()] = quoted or plain
    return [challenge for challenge in found if challenge.scheme in {"bearer", "basic"}]


def _host(server_address: str) -> str:
    """The host of an address like "https://index.docker.io/v1/"."""
    host = server_address.partition("://")[2] or server_address
    host = host.partition("/")[0]
    return "docker.io" if host in {"index.docker.io", "registry-1.docker.io"} else host
