"""Public keys that signatures are verified with. The library is imported when there is something to verify."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podyard.errors import SignatureValidationFailed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

SIZE_LIMIT = 64 << 10
"""Bytes of a key."""


class Keys:
    """Keys of which any may have signed."""

    def __init__(self, paths: Sequence[Path], datas: Sequence[str]) -> None:
        """``paths``: PEM files. ``datas``: PEM in base64. Raises SignatureValidationFailed when one cannot be used."""
        self._keys = [_load(_file(path), str(path)) for path in paths]
        self._keys += [_load(_decoded(data), "keyData") for data in datas]

    def signed(self, signature: bytes, payload: bytes) -> bool:
        """Whether one of the keys has made ``signature`` of ``payload``, with SHA-256 as cosign does it."""
        from cryptography.exceptions import InvalidSignature

        for key in self._keys:
            try:
                _verify(key, signature, payload)
            except InvalidSignature:
                continue
            return True
        return False


def _verify(key: PublicKeyTypes, signature: bytes, payload: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    match key:
        case ec.EllipticCurvePublicKey():
            key.verify(signature, payload, ec.ECDSA(SHA256()))
        case ed25519.Ed25519PublicKey():
            key.verify(signature, payload)
        case rsa.RSAPublicKey():
            key.verify(signature, payload, padding.PKCS1v15(), SHA256())
        case _:
            raise AssertionError("_load lets no other key through")


def _load(data: bytes, where: str) -> PublicKeyTypes:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SignatureValidationFailed(
            "signatures cannot be verified without the package cryptography: install podyard[signatures]"
        ) from error
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureValidationFailed(f"{where} holds no public key in PEM form: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise SignatureValidationFailed(f"{where} holds a key that is none of ECDSA, Ed25519 and RSA")
    return key


def _file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(SIZE_LIMIT)
    except OSError as error:
        raise SignatureValidationFailed(f"the key {path} cannot be read: {error.strerror}") from error


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureValidationFailed(f"keyData is not base64: {error}") from error
