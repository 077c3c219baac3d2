"""The certificate that podyard makes for a server of its own where it is given none.

Certificate and key are in one file, so that no crash leaves a certificate with another's key.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from podyard.errors import ConfigError, translate

if TYPE_CHECKING:
    from cryptography import x509

LIFETIME = timedelta(days=365)
RENEWAL = timedelta(days=90)
"""What may be left of the lifetime when another certificate is made."""
CLOCKS = timedelta(hours=1)
"""What a client's clock may be behind."""

_DNS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{,252}")


class SelfSignedPair:
    """A self-signed certificate for some addresses, in a file that only its owner can read.

    ``addresses``: IP addresses that it is valid for, besides the host's name and "localhost". ``settings``: what
    messages name for giving another.
    """

    def __init__(self, path: Path, addresses: Sequence[str], settings: str) -> None:
        self.cert = self.key = path
        self._settings = settings
        self._addresses = frozenset(addresses)
        self._until: datetime | None = None

    def current(self) -> bool:
        """Whether what ``renew`` has left will do for a while."""
        return self._until is not None and datetime.now(UTC) < self._until

    def renew(self) -> None:
        """Make a certificate, unless there is one that will do. Raises ConfigError without the library for it, and
        PodyardError when the file cannot be written.
        """
        try:
            from cryptography import x509
        except ImportError as error:
            raise ConfigError(
                f"making a certificate needs the package cryptography: install it, or give one ({self._settings})"
            ) from error
        try:
            found = x509.load_pem_x509_certificate(self.cert.read_bytes())
        except (OSError, ValueError):
            found = None  # there is none, or a crash has left part of one
        if found is None or not self._will_do(found):
            found = self._make()
        self._until = found.not_valid_after_utc - RENEWAL

    def _will_do(self, found: x509.Certificate) -> bool:
        from cryptography import x509

        now = datetime.now(UTC)
        if not found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEWAL:
            return False
        try:
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            return False
        return set(names) == set(self._names())

    def _names(self) -> Iterable[x509.GeneralName]:
        from cryptography import x509

        yield from (x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(self._addresses))
        yield from (x509.DNSName(name) for name in sorted({_host_name(), "localhost"}))

    def _make(self) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"podyard on {_host_name()}"[:64])])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCKS)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName(self._names()), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The certificate last: a file that a power cut has left half written has none, and is made again.
        self._write(private + made.public_bytes(serialization.Encoding.PEM))
        return made

    def _write(self, content: bytes) -> None:
        new = self.cert.with_name(f"{self.cert.name}.new")
        try:
            self.cert.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            new.replace(self.cert)
        except OSError as error:
            raise translate(error, f"writing the certificate to {self.cert}") from error


def _host_name() -> str:
    """The host's name; "localhost" where it has one that no certificate can have."""
    name = socket.gethostname()
    return name if _DNS_NAME.fullmatch(name) else "localhost"
