"""containers' policy.json: which requirements a reference has to meet.

Source of the rules: containers-policy.json(5). Types that podyard cannot check fail: "signedBy" (OpenPGP), and of
"sigstoreSigned" Fulcio and Rekor. A file that cannot be read fails all pulls, and so does one with a field that is
unknown or there twice: what was meant by it might be a reason to refuse.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from podyard.errors import SignatureValidationFailed
from podyard.images.trust.sigstore import Identity, SigstoreSigned
from podyard.model.reference import Reference

TRANSPORT = "docker"
"""What the format calls registries."""
SIZE_LIMIT = 1 << 20

_ACCEPTS, _REJECTS, _SIGSTORE = "insecureAcceptAnything", "reject", "sigstoreSigned"


class _Requirement(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: str
    key_type: str = ""
    key_path: str = ""
    key_paths: list[str] = []
    key_data: str = ""
    key_datas: list[str] = []
    signed_identity: Identity = Identity()
    fulcio: Any = None
    pki: Any = None
    rekor_public_key_path: str = ""
    rekor_public_key_paths: list[str] = []
    rekor_public_key_data: str = ""
    rekor_public_key_datas: list[str] = []
    base_layer_identity: Any = None


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    default: list[_Requirement]
    transports: dict[str, dict[str, list[_Requirement]]] = {}


async def requirements(path: Path | None, reference: Reference) -> list[SigstoreSigned]:
    """The signatures that a reference needs; none where the policy accepts anything, or there is no such file.

    Raises SignatureValidationFailed when the policy rejects it, or cannot be read or checked.
    """
    policy = await asyncio.to_thread(_read, path) if path is not None else None
    if policy is None:
        return []
    scope, wanted = _of(policy, reference)
    if not wanted:
        raise SignatureValidationFailed(f"{path}: {scope} has no requirement, so nothing is accepted")
    return [made for one in wanted if (made := _requirement(one, reference, f"{path}, {scope}")) is not None]


def _read(path: Path) -> _Policy | None:
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT)
        return msgspec.convert(json.loads(data, object_pairs_hook=_object), _Policy)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.ValidationError, RecursionError) as error:
        raise SignatureValidationFailed(f"the policy {path} cannot be used: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _of(policy: _Policy, reference: Reference) -> tuple[str, list[_Requirement]]:
    """The most specific scope that has requirements, and these."""
    scopes = policy.transports.get(TRANSPORT, {})
    for scope in _scopes(reference, scopes):
        if scope in scopes:
            return f"scope {scope!r}", scopes[scope]
    return "default", policy.default


def _scopes(reference: Reference, given: Mapping[str, object]) -> Iterator[str]:
    yield str(reference)
    parts = reference.name.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
    labels = reference.registry.partition(":")[0].split(".")
    for count in range(1, len(labels)):
        yield f"*.{'.'.join(labels[count:])}"
    if "" in given:
        yield ""


def _requirement(one: _Requirement, reference: Reference, where: str) -> SigstoreSigned | None:
    if one.type == _ACCEPTS:
        return None
    if one.type == _REJECTS:
        raise SignatureValidationFailed(f"{reference} is rejected by the policy ({where})")
    if one.type != _SIGSTORE:
        raise SignatureValidationFailed(f"{where} asks for {one.type!r}, which podyard cannot check")
    log = (one.rekor_public_key_path, one.rekor_public_key_data, one.rekor_public_key_paths, one.rekor_public_key_datas)
    if one.fulcio is not None or one.pki is not None or any(log):
        raise SignatureValidationFailed(
            f"{where} asks for Fulcio, Rekor or a PKI, which podyard cannot check: give a key"
        )
    paths = [*([one.key_path] if one.key_path else []), *one.key_paths]
    datas = [*([one.key_data] if one.key_data else []), *one.key_datas]
    if not paths and not datas:
        raise SignatureValidationFailed(f"{where} asks for {_SIGSTORE!r} without a key")
    return SigstoreSigned(tuple(map(Path, paths)), tuple(datas), one.signed_identity, where)
