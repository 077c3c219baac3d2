"""A server's certificate: a pair of files, read again when one changes."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Protocol

from podyard.errors import ConfigError, PodyardError

logger = logging.getLogger(__name__)


class Pair(Protocol):
    """A certificate with its key, in files."""

    @property
    def cert(self) -> Path:
        """The certificate with its chain (PEM)."""

    @property
    def key(self) -> Path:
        """Its key (PEM); it may be the same file."""

    def current(self) -> bool:
        """Whether the files are still those of the last ``renew``, and will do."""

    def renew(self) -> None:
        """Have files that will do. Raises PodyardError."""


class GivenPair:
    """Files that somebody else looks after."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert, self.key = cert, key
        self._seen = self._stamps()

    def current(self) -> bool:
        return self._stamps() == self._seen

    def renew(self) -> None:
        self._seen = self._stamps()

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self.cert, self.key))


class Certificate:
    """``context`` serves with what the pair is at each handshake.

    ``settings``: what messages name for giving the pair. ``authorities``: a file (PEM) of who may sign clients'
    certificates; a client may come without one, but with none of somebody else's. Raises PodyardError when the files
    cannot be used.
    """

    def __init__(self, pair: Pair, minimum: ssl.TLSVersion, settings: str, *, authorities: Path | None = None) -> None:
        self._pair, self._minimum, self._settings, self._authorities = pair, minimum, settings, authorities
        pair.renew()
        self._trusted = self._trust()
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        """Called in every handshake: what is renewed serves the connections that come after it."""
        trusted = self._trust()
        if not self._pair.current() or trusted != self._trusted:
            try:
                self._pair.renew()
                self._current = self._load()
                self._trusted = trusted
                logger.info("another certificate is served from now on: %s", self._pair.cert)
            except PodyardError as error:
                logger.warning("the old certificate stays: %s", error)
        connection.context = self._current

    def _trust(self) -> tuple[int, int] | None:
        return _stamp(self._authorities) if self._authorities is not None else None

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_alpn_protocols(["http/1.1"])
        cert, key = self._pair.cert, self._pair.key
        try:
            # A password would be asked for on a terminal.
            context.load_cert_chain(cert, key, password=lambda: "")
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"the certificate {cert} with the key {key} cannot be used: {error}; see {self._settings}"
            ) from error
        if self._authorities is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            try:
                context.load_verify_locations(self._authorities)
            except OSError as error:
                raise ConfigError(f"the clients' authorities {self._authorities} cannot be used: {error}") from error
        return context


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
