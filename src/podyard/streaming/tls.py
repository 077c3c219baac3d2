"""The streaming server's TLS: a given pair of files, read again when one changes, or podyard's own certificate."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from podyard.errors import ConfigError, PodyardError
from podyard.streaming.config import StreamingConfig
from podyard.streaming.selfsigned import SelfSignedPair

logger = logging.getLogger(__name__)

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


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
    """``context`` serves with what the pair is at each handshake. Raises PodyardError when the pair cannot be used."""

    def __init__(self, pair: Pair, minimum: ssl.TLSVersion) -> None:
        self._pair, self._minimum = pair, minimum
        pair.renew()
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        """Called in every handshake: a renewed pair serves the connections that come after it."""
        if not self._pair.current():
            try:
                self._pair.renew()
                self._current = self._load()
                logger.info("the streaming server has a new certificate: %s", self._pair.cert)
            except PodyardError as error:
                logger.warning("the old certificate stays: %s", error)
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_alpn_protocols(["http/1.1"])
        cert, key = self._pair.cert, self._pair.key
        try:
            context.load_cert_chain(cert, key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"the streaming server's certificate {cert} with the key {key} cannot be used: {error}; see "
                "streaming.tls_cert and streaming.tls_key"
            ) from error
        return context


def server_context(config: StreamingConfig, own: Path, addresses: Sequence[str]) -> ssl.SSLContext | None:
    """The context of a configuration; None without TLS. ``own``: where podyard keeps a certificate that it makes, for
    ``addresses``. Raises PodyardError when there is no usable certificate.
    """
    if config.tls_cert is not None and config.tls_key is not None:
        pair: Pair = GivenPair(config.tls_cert, config.tls_key)
    elif config.tls:
        pair = SelfSignedPair(own, addresses)
    else:
        return None
    return Certificate(pair, _VERSIONS[config.tls_minimum]).context


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
