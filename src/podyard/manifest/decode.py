"""A tree of nodes as typed objects.

Every fault is found, not only the first, and each knows its line and its field: a manifest is written by hand. (msgspec
by itself stops at the first fault and knows no lines.)
"""

from __future__ import annotations

import difflib
import functools
import typing
from types import NoneType, UnionType
from typing import Any, TypeVar

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.problems import Problem
from podyard.manifest.quantity import Quantity
from podyard.manifest.source import Node

NOT_SUPPORTED = "not supported by podyard yet"

_T = TypeVar("_T", bound=Object)


class Decoder:
    """Turns nodes into objects and collects what is wrong.

    ``problems`` holds the faults so far, ``lines`` the line of every field that the manifest gives, by its path.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}

    def line(self, path: str) -> int:
        """The line of a field; of the nearest one above it that the manifest gives when it is left out."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)

    def decode(self, kind: type[_T], node: Node) -> _T | None:
        """The object that ``node`` writes; None when a fault leaves no object."""
        decoded = self._decode(kind, node, "")
        return decoded if isinstance(decoded, kind) else None

    def _fault(self, node: Node, path: str, text: str, *, unsupported: bool = False) -> None:
        self.problems.append(Problem(node.line, path, text, unsupported))

    def _decode(self, kind: Any, node: Node, path: str) -> Any:
        """The value of type ``kind``, or None after a fault."""
        self.lines[path] = node.line
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (UnionType, typing.Union):
            # a field's None stands for "not given", which never comes here
            given = [argument for argument in arguments if argument is not NoneType]
            return self._decode(given[0], node, path) if len(given) == 1 else self._either(given, node, path)
        if origin is typing.Literal:
            decoded = self._literal(arguments, node, path)
        elif origin is tuple:
            decoded = self._list(arguments[0], node, path)
        elif origin is dict:
            decoded = self._map(arguments[1], node, path)
        elif kind is Quantity:
            decoded = self._quantity(node, path)
        elif kind in _NAMES:
            decoded = self._scalar(kind, node, path)
        else:
            decoded = self._object(kind, node, path)
        return decoded

    def _object(self, kind: type[Object], node: Node, path: str) -> Object | None:
        if not isinstance(node.value, dict):
            self._fault(node, path, f"expected fields, got {_describe(node)}")
            return None
        before = len(self.problems)
        fields = _fields(kind)
        values: dict[str, Any] = {}
        for key, child in node.value.items():
            where = f"{path}.{key}" if path else key
            if key in fields:
                if child.value is not None:
                    values[fields[key].name] = self._decode(fields[key].type, child, where)
            elif key in kind.unsupported:
                if child.value not in (None, "", [], {}):
                    self._fault(child, where, NOT_SUPPORTED, unsupported=True)
            elif key not in kind.ignored:
                hint = _suggestion(key, {*fields, *kind.unsupported, *kind.ignored})
                self._fault(child, where, f"unknown field{hint}")
        for field in fields.values():
            if field.required and field.name not in values:
                self._fault(node, f"{path}.{field.encode_name}" if path else field.encode_name, "missing")
        return kind(**values) if len(self.problems) == before else None

    def _list(self, kind: Any, node: Node, path: str) -> tuple[Any, ...] | None:
        if not isinstance(node.value, list):
            self._fault(node, path, f"expected a list, got {_describe(node)}")
            return None
        return tuple(self._decode(kind, child, f"{path}[{index}]") for index, child in enumerate(node.value))

    def _map(self, kind: Any, node: Node, path: str) -> dict[str, Any] | None:
        if not isinstance(node.value, dict):
            self._fault(node, path, f"expected names and values, got {_describe(node)}")
            return None
        return {key: self._decode(kind, child, f"{path}[{key!r}]") for key, child in node.value.items()}

    def _literal(self, allowed: tuple[Any, ...], node: Node, path: str) -> Any:
        if node.value in allowed and type(node.value) is type(allowed[0]):
            return node.value
        if isinstance(allowed[0], bool) and isinstance(node.value, bool):
            self._fault(node, path, f"{node.text} is {NOT_SUPPORTED}", unsupported=True)
        elif isinstance(allowed[0], bool) or not isinstance(node.value, str):
            self._fault(node, path, f"expected {_NAMES[type(allowed[0])]}, got {_describe(node)}")
        else:
            values = [str(value) for value in allowed if value]
            hint = _suggestion(node.value, values)
            self._fault(node, path, f"{node.value!r} is not one of {', '.join(values)}{hint}")
        return None

    def _quantity(self, node: Node, path: str) -> Quantity | None:
        if isinstance(node.value, list | dict | bool | NoneType):
            self._fault(node, path, f"expected a quantity such as 500m or 64Mi, got {_describe(node)}")
            return None
        try:
            return Quantity.parse(node.text)
        except ValueError as error:
            self._fault(node, path, str(error))
            return None

    def _either(self, kinds: list[type], node: Node, path: str) -> Any:
        """A port is a number or a name."""
        if type(node.value) in kinds:
            return node.value
        names = " or ".join(_NAMES[kind] for kind in kinds)
        self._fault(node, path, f"expected {names}, got {_describe(node)}")
        return None

    def _scalar(self, kind: type, node: Node, path: str) -> Any:
        if type(node.value) is kind:
            return node.value
        hint = ""
        if kind is str and isinstance(node.value, bool | int | float):
            hint = f'; put it in quotes: "{node.text}"'
        self._fault(node, path, f"expected {_NAMES[kind]}, got {_describe(node)}{hint}")
        return None


_NAMES = {str: "a string", int: "an integer", bool: "true or false"}


def _describe(node: Node) -> str:
    match node.value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {node.text}"
        case int() | float():
            return f"the number {node.text}"
        case str():
            shown = node.value if len(node.value) <= 40 else node.value[:40] + "…"
            return f"the string {shown!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _suggestion(word: str, known: typing.Iterable[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:100], lower, n=1, cutoff=0.75)
    return f", did you mean {lower[close[0]]}?" if close else ""


@functools.cache
def _fields(kind: type[Object]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}
