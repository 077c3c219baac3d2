"""What all objects of a manifest have in common."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import msgspec

_ACRONYMS = {"ip": "IP", "ips": "IPs", "pid": "PID", "ipc": "IPC", "fqdn": "FQDN"}


def kubernetes_name(name: str) -> str:
    """``host_ip`` as Kubernetes writes it: ``hostIP``."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class Object(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=kubernetes_name):
    """An object of the Kubernetes API, core/v1.

    A field that is annotated here is obeyed. ``unsupported`` names Kubernetes' fields that are refused, since leaving
    them out would change what runs; ``ignored`` those that are accepted without effect, since they do not concern what
    runs on one node.
    """

    unsupported: ClassVar[frozenset[str]] = frozenset()
    ignored: ClassVar[frozenset[str]] = frozenset()


def canonical(value: object) -> bytes:
    """JSON of an object, the same for equal objects."""
    return msgspec.json.encode(value, enc_hook=_encode, order="deterministic")


def _encode(value: Any) -> str:
    if isinstance(value, Fraction):  # the amount of a quantity
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")
