"""The streaming server's certificate: a pair of files, read again when one changes."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from podyard.errors import ConfigError
from podyard.streaming.config import StreamingConfig

logger = logging.getLogger(__name__)

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Certificate:
    """Raises ConfigError when the pair cannot be used."""

    def __init__(self, cert: Path, key: Path, minimum: ssl.TLSVersion) -> None:
        self._cert, self._key, self._minimum = cert, key, minimum
        self._seen = self._stamps()
        self._current = self._load()
        self.context = self._context()
        self.context.load_cert_chain(cert, key)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        """Called in every handshake: a renewed pair serves the connections that come after it."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._current = self._load()
                logger.info("the streaming server has a new certificate: %s", self._cert)
            except ConfigError as error:
                logger.warning("the old certificate stays: %s", error)
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = self._context()
        try:
            context.load_cert_chain(self._cert, self._key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"streaming.tls_cert {self._cert} with streaming.tls_key {self._key} cannot be used: {error}"
            ) from error
        return context

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._cert, self._key))


def server_context(config: StreamingConfig) -> ssl.SSLContext | None:
    """The context of a configuration; None without TLS. Raises ConfigError."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Certificate(config.tls_cert, config.tls_key, _VERSIONS[config.tls_minimum]).context


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
