"""What all objects of a manifest have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from podyard.manifest.quantity import Quantity

_ACRONYMS = {"ip": "IP", "ips": "IPs", "pid": "PID", "ipc": "IPC", "fqdn": "FQDN", "api": "API"}


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


def plain(value: Any) -> Any:
    """An object as the Kubernetes API writes it, of lists and dictionaries. Fields that have their default are left
    out, as in a manifest."""
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: plain(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if field.required or getattr(value, field.name) != _default(field)
        }
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def canonical(value: Object) -> bytes:
    """JSON of an object, the same for objects that mean the same, and for later versions that know more fields."""
    return msgspec.json.encode(plain(value), order="deterministic")


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
