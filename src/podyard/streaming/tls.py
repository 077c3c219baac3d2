"""The streaming server's TLS: a given pair of files, or podyard's own certificate."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from podyard.streaming.config import StreamingConfig
from podyard.tls import Certificate, GivenPair, Pair, SelfSignedPair

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_SETTINGS = "streaming.tls_cert and streaming.tls_key"


def server_context(config: StreamingConfig, own: Path, addresses: Sequence[str]) -> ssl.SSLContext | None:
    """The context of a configuration; None without TLS. ``own``: where podyard keeps a certificate that it makes, for
    ``addresses``. Raises PodyardError when there is no usable certificate.
    """
    if config.tls_cert is not None and config.tls_key is not None:
        pair: Pair = GivenPair(config.tls_cert, config.tls_key)
    elif config.tls:
        pair = SelfSignedPair(own, addresses, _SETTINGS)
    else:
        return None
    return Certificate(pair, _VERSIONS[config.tls_minimum], _SETTINGS).context
