"""A CNI configuration with gaps for a node's pod subnets, which its users bring along from containerd.

The part of Go's template language that such files use: ``{{.Name}}``, ``{{range .List}} {{.}} {{end}}``,
``{{range $i, $item := .List}}``, ``{{if $i}} {{else}} {{end}}``, comments, and ``{{-`` and ``-}}`` to drop blanks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Value = str | int | Sequence[str]
Scope = Mapping[str, Value]

_ACTION = re.compile(r"(\s*\{\{-\s|\{\{)(.*?)(\s-\}\}\s*|\}\})", re.DOTALL)
_RANGE = re.compile(r"range\s+(?:(?:(\$\w+)\s*,\s*)?(\$\w+)\s*:=\s*)?(\S+)")
_IF = re.compile(r"if\s+(\S+)")


def render(template: str, values: Mapping[str, Value]) -> str:
    """The template with its gaps filled. ``values``: by name, without the dot.

    Raises ValueError for what is not in this part of the language, and for names that have no value.
    """
    # Text and actions by turns: even places are text.
    pieces: list[str] = []
    position = 0
    for match in _ACTION.finditer(template):
        pieces += [template[position : match.start()], match[2].strip()]
        position = match.end()
    pieces.append(template[position:])
    text, end = _block(pieces, 0, {f".{name}": value for name, value in values.items()})
    if end < len(pieces):
        raise ValueError(f"{{{{{pieces[end]}}}}} belongs to nothing")
    return text


def _block(pieces: Sequence[str], at: int, scope: Scope | None) -> tuple[str, int]:
    """The text from a place to the "else" or "end" of the block, and where that is. Without a scope it is skipped."""
    found: list[str] = []
    while at < len(pieces):
        piece = pieces[at]
        if at % 2 == 0:
            found.append(piece)
        elif piece in {"else", "end"}:
            break
        elif piece.startswith("range"):
            text, at = _range(pieces, at, scope)
            found.append(text)
        elif piece.startswith("if"):
            text, at = _if(pieces, at, scope)
            found.append(text)
        elif scope is not None and not piece.startswith("/*"):
            found.append(_printed(piece, scope))
        at += 1
    return "".join(found), at


def _range(pieces: Sequence[str], at: int, scope: Scope | None) -> tuple[str, int]:
    match = _RANGE.fullmatch(pieces[at])
    if match is None:
        raise ValueError(f"{{{{{pieces[at]}}}}} is no range over a list")
    number_name, item_name, name = match.groups()
    items = [] if scope is None else _value(name, scope)
    if isinstance(items, str | int):
        raise ValueError(f"{{{{{pieces[at]}}}}}: {name} is no list")  # noqa: TRY004
    _, end = _block(pieces, at + 1, None)
    _check_end(pieces, at, end)
    found = []
    for number, item in enumerate(items):
        names = {".": item} | ({number_name: number} if number_name else {}) | ({item_name: item} if item_name else {})
        text, _ = _block(pieces, at + 1, {**(scope or {}), **names})
        found.append(text)
    return "".join(found), end


def _if(pieces: Sequence[str], at: int, scope: Scope | None) -> tuple[str, int]:
    match = _IF.fullmatch(pieces[at])
    if match is None:
        raise ValueError(f"{{{{{pieces[at]}}}}} is no condition on a single value")
    holds = scope is not None and bool(_value(match[1], scope))
    text, end = _block(pieces, at + 1, scope if holds else None)
    otherwise = ""
    if end < len(pieces) and pieces[end] == "else":
        otherwise, end = _block(pieces, end + 1, None if holds else scope)
    _check_end(pieces, at, end)
    return (text if holds else otherwise), end


def _check_end(pieces: Sequence[str], at: int, end: int) -> None:
    if end >= len(pieces) or pieces[end] != "end":
        raise ValueError(f"{{{{{pieces[at]}}}}} has no {{{{end}}}}")


def _printed(name: str, scope: Scope) -> str:
    value = _value(name, scope)
    if not isinstance(value, str | int):
        raise ValueError(f"{{{{{name}}}}} is a list: put it into a range")  # noqa: TRY004
    return str(value)


def _value(name: str, scope: Scope) -> Value:
    if name not in scope:
        raise ValueError(f"{{{{{name}}}}} is unknown: there are {', '.join(sorted(scope))}, range, if, else and end")
    return scope[name]
