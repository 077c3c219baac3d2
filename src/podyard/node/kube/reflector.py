"""A copy of a collection of the API server, kept up to date."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing

from podyard.errors import PodyardError
from podyard.node.kube.answers import Expired
from podyard.node.kube.client import JsonObject, KubeClient

logger = logging.getLogger(__name__)

SHORTEST = 1.0
"""Seconds: a watch that ends earlier and has told nothing counts as a failure."""


class Waits:
    """How long to wait after failures that follow each other: doubling, and never all clients at once."""

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one failure more."""
        wait = min(self._first * 2.0 ** min(self._failures, 20), self._longest)
        self._failures += 1
        return wait * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Something went well."""
        self._failures = 0


class Reflector:
    """Lists a collection and watches it from there on; lists it anew when the watch cannot go on.

    ``on_change`` is called after each change of ``objects``.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        on_change: Callable[[], None],
        waits: Waits | None = None,
    ) -> None:
        self.objects: dict[str, JsonObject] = {}
        """By ``namespace/name``."""
        self.synced = False
        """Whether the collection was listed once: before, that nothing is known says nothing."""
        self._client = client
        self._path = path
        self._params = params
        self._on_change = on_change
        self._waits = waits or Waits()
        self._version = ""
        self._said = ""

    async def run(self) -> None:
        """For ever, until cancelled."""
        while True:
            began, version = time.monotonic(), self._version
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired as error:
                logger.debug("%s is listed anew: %s", self._path, error)
                failed, self._version = not version, ""  # a list that expires at once must not be repeated at once
            except PodyardError as error:
                self._say(f"{self._path} cannot be followed: {error}")
                failed = True
            else:
                failed = self._version == version and time.monotonic() - began < SHORTEST
            if failed:
                await asyncio.sleep(self._waits.next())

    async def _list(self) -> None:
        objects, self._version = await self._client.list(self._path, self._params)
        self.objects = {key_of(found): found for found in objects}
        self.synced = True
        self._went_well()
        self._on_change()

    async def _watch(self) -> None:
        async with aclosing(self._client.watch(self._path, self._version, self._params)) as events:
            async for kind, found in events:
                if kind in ("ADDED", "MODIFIED"):
                    self.objects[key_of(found)] = found
                elif kind == "DELETED":
                    self.objects.pop(key_of(found), None)
                self._version = found["metadata"]["resourceVersion"]
                self._went_well()
                if kind != "BOOKMARK":
                    self._on_change()

    def _went_well(self) -> None:
        self._waits.reset()
        self._said = ""

    def _say(self, text: str) -> None:
        """Log something once, not each time that it is found so."""
        if text != self._said:
            self._said = text
            logger.warning("%s", text)


def key_of(found: JsonObject) -> str:
    """``namespace/name`` of an object; of one that is in no namespace, its name."""
    metadata = found["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    return f"{namespace}/{name}" if namespace else str(name)
