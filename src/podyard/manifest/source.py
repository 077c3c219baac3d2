"""The text of a manifest as a tree that knows its lines.

YAML is read as Kubernetes reads it: YAML 1.1 plain values without timestamps and sexagesimal numbers, keys are strings
and stand once, JSON is a special case. The tree is built from the parser's events, never by recursion, and its size is
bounded before anything walks it: a manifest may come from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podyard.errors import InvalidArgument
from podyard.manifest.problems import Problem, error_of

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 3 * 1024 * 1024
"""The API server accepts no larger request either."""
MAX_DEPTH = 64
MAX_NODES = 100_000
"""Counted with every use of an alias, so that a small text cannot stand for a huge tree."""

Value = None | bool | int | float | str | list["Node"] | dict[str, "Node"]


@dataclass(slots=True)
class Node:
    """A value and where it stands. ``line`` counts from 1 and is the key's line for a mapping's value.

    ``text`` is a scalar as written ("0.10", "1e3"): quantities must not pass through a float. ``size`` is the number
    of nodes in the tree below, this one included.
    """

    line: int
    value: Value
    text: str = ""
    size: int = 1


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_INTEGER = re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 40
_SURROGATES = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_BASES = {"0b": 2, "0x": 16, "0o": 8}
_STRING_TAG = "tag:yaml.org,2002:str"


def parse_documents(text: bytes, source: str) -> list[Node]:
    """The documents of a YAML or JSON text, empty ones left out.

    Raises InvalidArgument, which names ``source`` and the line, when the text is too large, is not UTF-8 or YAML, or
    repeats a key.
    """
    if len(text) > MAX_BYTES:
        raise InvalidArgument(f"{source}: larger than {MAX_BYTES} bytes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise error_of([Problem(line, "", "not UTF-8 text")], source) from error
    if decoded.lstrip().startswith("{"):
        # JSON may be indented with tabs, YAML not; a JSON string cannot hold a raw tab, so none is lost
        decoded = _SURROGATES.sub(_joined, decoded.replace("\t", " "))
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return [node for node in _Builder(yaml.parse(decoded, Loader=loader)).documents() if node.value is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise error_of([Problem(line, "", f"not YAML: {what}")], source) from error
    except yaml.YAMLError as error:
        raise InvalidArgument(f"{source}: not YAML: {error}") from error
    except _Fault as fault:
        raise error_of([fault.problem], source) from None


class _Fault(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(line, "", text)


@dataclass(slots=True)
class _Open:
    """A collection that is being filled; ``key`` is a mapping's key that waits for its value."""

    node: Node
    anchor: str | None
    key: Node | None = None


class _Builder:
    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def documents(self) -> Iterator[Node]:
        import yaml

        for event in self._events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            done: Node | None = None
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
            elif isinstance(event, yaml.ScalarEvent):
                done = _scalar(event, line)
                self._remember(event.anchor, done)
            elif isinstance(event, yaml.AliasEvent):
                done = self._alias(event.anchor, line)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._open(event, line, {} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                closed = self._stack.pop()
                self._remember(closed.anchor, closed.node)
                done = closed.node
            if done is not None:
                if not self._stack:
                    yield done
                else:
                    self._attach(done)

    def _open(self, event: yaml.CollectionStartEvent, line: int, value: Value) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _Fault(line, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag is not None:
            raise _Fault(line, f"the tag {event.tag} means nothing in a manifest")
        self._stack.append(_Open(Node(line, value), event.anchor))

    def _alias(self, anchor: str | None, line: int) -> Node:
        found = self._anchors.get(anchor or "")
        if found is None:
            raise _Fault(line, f"the alias *{anchor} stands before its anchor, or inside it")
        return Node(line, found.value, found.text, found.size)

    def _remember(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _attach(self, node: Node) -> None:
        parent = self._stack[-1]
        target = parent.node.value
        if isinstance(target, list):
            target.append(node)
        elif parent.key is None:
            parent.key = _checked_key(node)
            return
        else:
            key = parent.key
            parent.key = None
            assert isinstance(target, dict) and isinstance(key.text, str)
            if key.text in target:
                raise _Fault(key.line, f"the key {key.text!r} stands here twice")
            node.line = key.line
            target[key.text] = node
        parent.node.size += node.size
        if parent.node.size > MAX_NODES:
            raise _Fault(node.line, f"more than {MAX_NODES} values")


def _joined(match: re.Match[str]) -> str:
    """The character that JSON writes as two escapes, for YAML has one escape for it; an escaped backslash stays."""
    if match.group(1) is None:
        return match.group(0)
    high, low = (int(half, 16) for half in match.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08X}"


def _checked_key(node: Node) -> Node:
    if isinstance(node.value, list | dict) or node.value is None:
        raise _Fault(node.line, "a key must be a string")
    if node.text == "<<":
        raise _Fault(node.line, "merge keys (<<) are not supported; write the fields out")
    return node


def _scalar(event: yaml.ScalarEvent, line: int) -> Node:
    text: str = event.value
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _Fault(line, "half of a surrogate pair is not a character")
    if event.tag not in (None, _STRING_TAG, "!"):
        raise _Fault(line, f"the tag {event.tag} means nothing in a manifest")
    plain = event.implicit[0] and event.tag is None
    return Node(line, _plain_value(text) if plain else text, text)


def _plain_value(text: str) -> bool | int | float | str | None:
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if match := _INTEGER.fullmatch(text):
        return _integer(text, match.group(1))
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str, digits: str) -> int:
    base = _BASES.get(digits[:2], 8 if digits.startswith("0") and len(digits) > 1 else 10)
    value = int(digits[2:] if digits[:2] in _BASES else digits, base)
    return -value if text.startswith("-") else value
