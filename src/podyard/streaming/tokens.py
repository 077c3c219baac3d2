"""Single-use tokens: what makes a URL of the streaming server unguessable, and good for one time and a short while."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from podyard.errors import ResourceExhausted

Value = TypeVar("Value")

TOKEN_BYTES = 24


@dataclass(frozen=True)
class _Waiting(Generic[Value]):
    kind: str
    value: Value
    until: float


class Tokens(Generic[Value]):
    """Values under tokens. ``lifetime``: seconds. ``limit``: how many may wait."""

    def __init__(self, lifetime: float, limit: int) -> None:
        self._lifetime = lifetime
        self._limit = limit
        # In the order in which they run out: all live equally long.
        self._waiting: dict[str, _Waiting[Value]] = {}

    def issue(self, kind: str, value: Value) -> str:
        """A new token. Raises ResourceExhausted when too many wait."""
        self._expire()
        if len(self._waiting) >= self._limit:
            raise ResourceExhausted(
                f"{self._limit} streaming URLs wait to be used: use them, or wait until they run out "
                f"({self._lifetime:g} s after they were given out)"
            )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._waiting[token] = _Waiting(kind, value, time.monotonic() + self._lifetime)
        return token

    def peek(self, kind: str, token: str) -> Value | None:
        """What stands under a token of this kind; None when it is unknown, used or too old."""
        self._expire()
        found = self._waiting.get(token)
        return found.value if found is not None and found.kind == kind else None

    def take(self, token: str) -> None:
        """Use a token up."""
        del self._waiting[token]

    def _expire(self) -> None:
        now = time.monotonic()
        while self._waiting:
            first = next(iter(self._waiting))
            if self._waiting[first].until > now:
                break
            del self._waiting[first]
