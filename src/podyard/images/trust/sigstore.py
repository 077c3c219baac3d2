"""Signatures as cosign attaches them: in the image's repository, under the tag ``sha256-<digest>.sig``.

Source of the format: cosign's specification of signatures (SIGNATURE_SPEC.md). Each layer of that tag's manifest is a
payload in "simple signing" JSON, whose annotation has the signature. Who signed an index has signed what it points to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from podyard.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    RegistryUnavailable,
    SignatureValidationFailed,
    Unimplemented,
)
from podyard.images.manifest import Descriptor, Manifest, parse_manifest
from podyard.images.trust.keys import Keys
from podyard.model.reference import DEFAULT_TAG, Reference, parse

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
SIGNATURES_LIMIT = 50
"""Signatures of one image that are tried."""


class Identity(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which name a signature must have been made for (containers-policy.json(5), signedIdentity)."""

    type: Literal[
        "matchRepoDigestOrExact", "matchExact", "matchRepository", "exactReference", "exactRepository", "remapIdentity"
    ] = "matchRepoDigestOrExact"
    docker_reference: str = ""
    docker_repository: str = ""
    prefix: str = ""
    signed_prefix: str = ""

    def allows(self, reference: Reference, signed: Reference) -> bool:
        """Whether a signature for ``signed`` counts for ``reference``."""
        if self.type == "remapIdentity" and _begins(reference.name, self.prefix):
            reference = parse(self.signed_prefix + str(reference)[len(self.prefix) :])
        if self.type == "exactReference":
            return signed == parse(self.docker_reference)
        if self.type == "exactRepository":
            return signed.name == parse(self.docker_repository).name
        if self.type == "matchRepository" or (self.type != "matchExact" and reference.digest):
            return signed.name == reference.name
        return signed == reference


@dataclass(frozen=True)
class SigstoreSigned:
    """A requirement: a signature by one of the keys, for a name that fits."""

    paths: tuple[Path, ...]
    datas: tuple[str, ...]
    identity: Identity
    where: str
    """The policy and its scope."""


class Repository(Protocol):
    """Where the image is, and its signatures."""

    async def tagged(self, tag: str) -> bytes:
        """The manifest of another tag."""
        ...

    async def document(self, descriptor: Descriptor) -> bytes:
        """A small blob, verified."""
        ...


class _ImageOf(msgspec.Struct, rename="kebab"):
    docker_manifest_digest: str


class _IdentityOf(msgspec.Struct, rename="kebab"):
    docker_reference: str


class _Critical(msgspec.Struct):
    type: str
    image: _ImageOf
    identity: _IdentityOf


class _Payload(msgspec.Struct):
    critical: _Critical


async def verify(
    wanted: Sequence[SigstoreSigned], reference: Reference, digests: Sequence[str], repository: Repository
) -> None:
    """See to it that an image meets all requirements. ``digests``: its index and its manifest; one signed is enough.

    Raises SignatureValidationFailed, saying what is wrong with each signature, and what the repository raises.
    """
    if not wanted:
        return
    keys = [await asyncio.to_thread(Keys, requirement.paths, requirement.datas) for requirement in wanted]
    signatures: list[_Signature] = []
    unknown: PodyardError | None = None
    lacking = ""
    for digest in digests:
        try:
            signatures += await _signatures(repository, digest)
        except (PermissionDenied, RegistryUnavailable) as error:
            # A mirror has not what was never made, and nobody else may be there to say so. Another digest may do.
            unknown = error
        lacking = _lacking(wanted, keys, signatures, reference, digests)
        if not lacking:
            return
    if unknown is not None:
        raise unknown
    raise SignatureValidationFailed(f"{reference} is not signed as {lacking}")


def _lacking(
    wanted: Sequence[SigstoreSigned],
    keys: Sequence[Keys],
    signatures: Sequence[_Signature],
    reference: Reference,
    digests: Sequence[str],
) -> str:
    """What asks for a signature that is not there, and why; "" where all requirements are met."""
    for requirement, allowed in zip(wanted, keys, strict=True):
        faults = [_fault(signature, allowed, requirement.identity, reference, digests) for signature in signatures]
        if "" not in faults:
            reasons = "; ".join(dict.fromkeys(faults)) or f"it has no signature ({_tag(digests[0])} is not there)"
            return f"{requirement.where} asks for: {reasons}"
    return ""


@dataclass(frozen=True)
class _Signature:
    payload: bytes
    signature: bytes


async def _signatures(repository: Repository, digest: str) -> list[_Signature]:
    try:
        data = await repository.tagged(_tag(digest))
    except NotFound:
        return []
    try:
        manifest = parse_manifest(data, f"the signatures of {digest}")
    except (InvalidArgument, Unimplemented) as error:
        raise SignatureValidationFailed(str(error)) from error
    found = []
    layers = manifest.layers if isinstance(manifest, Manifest) else []
    for layer in layers[:SIGNATURES_LIMIT]:
        text = (layer.annotations or {}).get(SIGNATURE)
        if layer.media_type == PAYLOAD and text:
            try:
                signature = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                continue
            found.append(_Signature(await repository.document(layer), signature))
    return found


def _tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.sig"


def _fault(signature: _Signature, keys: Keys, identity: Identity, reference: Reference, digests: Sequence[str]) -> str:
    """What is wrong with a signature, or ""."""
    if not keys.signed(signature.signature, signature.payload):
        return "a signature is not by any of the keys"
    # Only now is it known who has written the payload.
    try:
        critical = msgspec.json.decode(signature.payload, type=_Payload).critical
        signed = _signed_name(critical.identity.docker_reference)
        fits = identity.allows(reference, signed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, PodyardError) as error:
        return f"a signature's payload cannot be read: {error}"
    if critical.image.docker_manifest_digest not in digests:
        return f"a signature is for {critical.image.docker_manifest_digest}"
    return "" if fits else f"a signature is for the name {critical.identity.docker_reference!r} ({identity.type})"


def _signed_name(text: str) -> Reference:
    """A name without a tag is that of a repository: nobody has signed "latest", as which ``parse`` takes it."""
    named = parse(text)
    return replace(named, tag="") if named.tag == DEFAULT_TAG and not text.endswith(f":{DEFAULT_TAG}") else named


def _begins(name: str, prefix: str) -> bool:
    return bool(prefix) and (name == prefix or name.startswith(f"{prefix}/"))
