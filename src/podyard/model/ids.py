"""Ids of sandboxes, containers and images."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from podyard.errors import InvalidArgument

ID_LENGTH = 64
"""Hexadecimal digits of an id: what containerd and CRI-O use, and what tools expect to shorten."""


def new_id() -> str:
    """A new random id of 64 lower-case hexadecimal digits."""
    return secrets.token_hex(ID_LENGTH // 2)


def match_id(prefix: str, ids: Iterable[str], *, what: str) -> str | None:
    """The one id that starts with ``prefix``; None where there is none.

    Raises InvalidArgument when ``prefix`` is empty or fits several ids (``what`` names the kind in the text).
    """
    if not prefix:
        raise InvalidArgument(f"empty {what} id")
    found = None
    for candidate in ids:
        if candidate == prefix:
            return candidate
        if candidate.startswith(prefix):
            if found is not None:
                raise InvalidArgument(f"{what} id {prefix!r} is ambiguous: give more digits")
            found = candidate
    return found
