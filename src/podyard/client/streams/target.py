"""Where a session is to be had: the URL that a runtime gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from podyard.errors import Internal

__all__ = ["Target"]

_PORTS = {"http": 80, "https": 443}
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A server that listens everywhere may say so in its URL; it is on this host then."""
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Target:
    """A streaming server, and what to ask it for. ``resource``: path and query, with the token; it is never shown."""

    host: str
    port: int
    tls: bool
    resource: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises Internal for a URL that no client could use: the runtime is at fault."""
        try:
            parts = urlsplit(url)
            return cls._of(parts, parts.port)
        except ValueError as error:
            raise Internal(f"the runtime gave a URL for streaming that is none: {error}") from error

    @classmethod
    def _of(cls, parts: SplitResult, port: int | None) -> Target:
        if parts.scheme not in _PORTS:
            raise ValueError(f"its scheme is {parts.scheme!r}, not http or https")
        host = parts.hostname
        if not host:
            raise ValueError("it names no host; give the runtime's streaming server an address of its own")
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _VISIBLE.fullmatch(resource):
            raise ValueError("it has blanks or other characters that must be escaped")
        return cls(_ANY_ADDRESS.get(host, host), port or _PORTS[parts.scheme], parts.scheme == "https", resource)

    def redirected(self, location: str) -> Target:
        """The target of a redirection; relative ones stay on the server. Raises Internal."""
        return Target.parse(urljoin(self.url, location))

    @property
    def url(self) -> str:
        """The URL in full, with its token."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.resource}"

    @property
    def authority(self) -> str:
        """``host:port`` as a Host header has it (RFC 9110, section 7.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"
