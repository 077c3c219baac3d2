"""What a case says when the runtime does not do as expected: always what was expected and what came."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from itertools import zip_longest
from typing import Any, NoReturn

__all__ = ["Skipped", "Unmet", "contains", "equal", "holds", "lacks", "matches", "one_of", "same_lines", "skip"]

_LONGEST = 800
"""Characters of a value in a report: logs and lists can be long."""


class Unmet(Exception):
    """An expectation that does not hold. ``expected`` and ``came`` are for people."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}, came {came}")
        self.expected = expected
        self.came = came


class Skipped(Exception):
    """The case does not apply to this endpoint or host; the text says why."""


def skip(reason: str) -> NoReturn:
    """End the case: it does not apply, for ``reason``."""
    raise Skipped(reason)


def equal(came: Any, expected: Any, what: str) -> None:
    """``what`` names the value in the report. Raises Unmet."""
    if came != expected:
        raise Unmet(f"{what}: {_shown(expected)}", _shown(came))


def same_lines(came: str, expected: str, what: str) -> None:
    """Two long texts are equal. Raises Unmet with the first line that differs."""
    pairs = zip_longest(came.splitlines(keepends=True), expected.splitlines(keepends=True))
    for number, (line, wanted) in enumerate(pairs, 1):
        if line != wanted:
            raise Unmet(f"{what}: {_shown(wanted)} as line {number}", _shown(line))


def one_of(came: Any, allowed: Container[Any], what: str) -> None:
    """The value is among those allowed. Raises Unmet."""
    if came not in allowed:
        raise Unmet(f"{what}: one of {_shown(allowed)}", _shown(came))


def contains(came: str | Iterable[Any], part: Any, what: str) -> None:
    """A text holds a part, or a collection an element. Raises Unmet."""
    if part not in (came if isinstance(came, str) else list(came)):
        raise Unmet(f"{what}: has {_shown(part)}", _shown(came))


def lacks(came: str | Iterable[Any], part: Any, what: str) -> None:
    """A text does not hold a part, or a collection an element. Raises Unmet."""
    if part in (came if isinstance(came, str) else list(came)):
        raise Unmet(f"{what}: is without {_shown(part)}", _shown(came))


def matches(came: str, pattern: str, what: str) -> None:
    """The whole text has the form of a regular expression. Raises Unmet."""
    if not re.fullmatch(pattern, came):
        raise Unmet(f"{what}: in the form {pattern}", _shown(came))


def holds(condition: object, expected: str, came: Any) -> None:
    """Any other condition. Raises Unmet."""
    if not condition:
        raise Unmet(expected, _shown(came))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text)} characters)"
