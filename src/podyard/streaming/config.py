"""How exec, attach and port-forward are served."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class StreamingConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The table ``[streaming]`` of the configuration."""

    address: str = "127.0.0.1"
    """The address to listen on. Whoever reaches it needs a token that only CRI clients get."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """The port to listen on; 0 takes a free one."""
    tls: bool = False
    """Whether the URLs are https, also without ``tls_cert``: podyard then makes a certificate of its own, keeps it with
    its state and renews it."""
    tls_cert: Path | None = None
    """A certificate with its chain (PEM); with it and ``tls_key`` the URLs are https. Read again when it changes."""
    tls_key: Path | None = None
    """The certificate's key (PEM)."""
    tls_minimum: Literal["1.2", "1.3"] = "1.2"
    """The lowest version of TLS that is spoken."""
    token_lifetime: Seconds = 60.0
    """Seconds within which a URL must be used."""
    tokens: Count = 1000
    """URLs that may wait to be used."""
    sessions: Count = 2000
    """Connections at the same time; further ones are answered with 503."""
    open_timeout: Seconds = 30.0
    """Seconds for the request, for TLS, and then for the client to open its streams."""
    idle_timeout: Seconds = 4 * 3600.0
    """Seconds without a byte in either direction after which a session is ended."""

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            raise ValueError(f"streaming.address must be an IP address, not {self.address!r}") from None
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("streaming.tls_cert and streaming.tls_key belong together: set both or none")
