"""What a manifest can say is said by one of those that the agent carries out on real runtimes (tests/e2e/manifests)."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import msgspec

from podyard.manifest.model import ConfigMapDocument, Object, Pod, SecretDocument
from podyard.manifest.source import Node, parse_documents

MANIFESTS = Path(__file__).parents[2] / "e2e" / "manifests"
KINDS: dict[str, type[Object]] = {"Pod": Pod, "ConfigMap": ConfigMapDocument, "Secret": SecretDocument}
ELSEWHERE = dict.fromkeys(
    ("AppArmorProfile.localhostProfile", "AppArmorProfile.type=Localhost", "AppArmorProfile.type=RuntimeDefault"),
    "only hosts with AppArmor carry it out: tests/e2e/test_apparmor.py",
) | dict.fromkeys(
    (
        *(f"{kind}SecurityContext.seLinuxOptions" for kind in ("", "Pod")),
        *(f"SELinuxOptions.{part}" for part in ("user", "role", "type", "level")),
    ),
    "only hosts with SELinux carry it out, and podyard refuses it elsewhere: tests/e2e/test_fields.py",
)
"""What none of them says, and why."""


def said(kind: Any, node: Node) -> Iterator[str]:
    """Each field that a document gives, as CLASS.field, and CLASS.field=VALUE of one that has a list of values."""
    kind = next(one for one in _parts(kind) if one is not NoneType)
    if typing.get_origin(kind) is tuple and isinstance(node.value, list):
        for child in node.value:
            yield from said(typing.get_args(kind)[0], child)
    elif isinstance(kind, type) and issubclass(kind, Object) and isinstance(node.value, dict):
        for field in msgspec.structs.fields(kind):
            child = node.value.get(field.encode_name)
            if child is not None:
                name = _name(kind, field)
                yield name
                if values(field.type):
                    yield f"{name}={child.value}"
                yield from said(field.type, child)


def sayable(kind: Any) -> Iterator[str]:
    """The same of all that a document can say. Values that are a field's default need not be said."""
    for part in _parts(kind):
        if typing.get_origin(part) is tuple:
            yield from sayable(typing.get_args(part)[0])
        elif isinstance(part, type) and issubclass(part, Object):
            for field in msgspec.structs.fields(part):
                name = _name(part, field)
                yield name
                yield from (f"{name}={value}" for value in values(field.type) if value != field.default)
                yield from sayable(field.type)


def values(kind: Any) -> list[Any]:
    """The values that a field can have, where they are listed; those of a truth value are its default and the other."""
    listed = [part for part in _parts(kind) if typing.get_origin(part) is typing.Literal]
    return [value for part in listed for value in typing.get_args(part)]


def _name(kind: type[Object], field: msgspec.structs.FieldInfo) -> str:
    """A field counts as one with those that other classes have of it."""
    owner = next(one for one in reversed(kind.__mro__) if field.name in vars(one).get("__annotations__", {}))
    return f"{owner.__name__}.{field.encode_name}"


def _parts(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (UnionType, typing.Union) else (kind,)


def test_every_field_and_value_of_the_model_is_in_a_manifest_that_is_run() -> None:
    found: set[str] = set()
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        for document in parse_documents(path.read_bytes(), str(path)):
            assert isinstance(document.value, dict)
            found |= set(said(KINDS[str(document.value["kind"].value)], document))
    can = {name for kind in KINDS.values() for name in sayable(kind)}
    assert found <= can, "the walk and the model disagree"
    assert len(can) > 200
    assert sorted(can - found - ELSEWHERE.keys()) == []
    assert sorted(ELSEWHERE.keys() & found) == [], "these are said by now"
    assert ELSEWHERE.keys() <= can
