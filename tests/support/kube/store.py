"""Objects with optimistic concurrency, and the history of their changes."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]
Key = tuple[str, str, str]
"""Resource ("pods"), namespace ("" where there is none) and name."""


class Refused(Exception):
    """What a request is answered with instead of success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    @property
    def status(self) -> JsonObject:
        """The Status object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True)
class Change:
    """One change: what it was and what the object was then."""

    version: int
    kind: str
    key: Key
    found: JsonObject
    before: JsonObject | None = None


class Store:
    """All objects. Their versions come from one counter; ``changed`` is set, and replaced, after each change."""

    def __init__(self) -> None:
        self.objects: dict[Key, JsonObject] = {}
        self.history: list[Change] = []
        self.version = 100
        self.oldest = 100
        """The oldest version from which changes are still known."""
        self.changed = asyncio.Event()

    def get(self, key: Key) -> JsonObject:
        """A copy of an object. Raises Refused 404."""
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return copy.deepcopy(self.objects[key])

    def create(self, key: Key, found: JsonObject) -> JsonObject:
        """Add an object. Raises Refused 409 when there is one of its name."""
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
        metadata = {**found["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        metadata.pop("resourceVersion", None)
        if key[1]:
            metadata["namespace"] = key[1]
        return self._put("ADDED", key, {**found, "metadata": metadata}, None)

    def change(self, key: Key, change: Callable[[JsonObject], JsonObject]) -> JsonObject:
        """Replace an object by what ``change`` makes of it.

        Raises Refused 409 when it is not of the version or the uid that the new one says.
        """
        before = self.get(key)
        after = change(copy.deepcopy(before))
        for field, what in (("resourceVersion", "the object has been modified"), ("uid", "Precondition failed: UID")):
            given = after["metadata"].get(field)
            if given and given != before["metadata"][field]:
                raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {key[0]} "{key[2]}": {what}')
        for field in ("uid", "creationTimestamp", "name"):
            after["metadata"][field] = before["metadata"][field]
        after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if after == before:
            return before  # nothing is written, so no version is used up
        return self._put("MODIFIED", key, after, before)

    def remove(self, key: Key) -> JsonObject:
        """Remove an object; as it was. Raises Refused 404."""
        before = self.get(key)
        del self.objects[key]
        gone = copy.deepcopy(before)
        self._record("DELETED", key, gone, before)
        return gone

    def compact(self) -> None:
        """Forget the changes so far."""
        self.history.clear()
        self.oldest = self.version

    def since(self, version: int) -> list[Change]:
        """The changes after a version. Raises Refused 410 when they are not known any more."""
        if version < self.oldest:
            raise Refused(410, "Expired", f"too old resource version: {version} ({self.oldest})")
        return [change for change in self.history if change.version > version]

    def _put(self, kind: str, key: Key, found: JsonObject, before: JsonObject | None) -> JsonObject:
        self._record(kind, key, found, before)
        self.objects[key] = found
        return copy.deepcopy(found)

    def _record(self, kind: str, key: Key, found: JsonObject, before: JsonObject | None) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, kind, key, copy.deepcopy(found), before))
        self.changed.set()
        self.changed = asyncio.Event()


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
