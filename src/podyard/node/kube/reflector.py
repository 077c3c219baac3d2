"""A copy of a collection of the API server, kept up to date."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing

from podyard.errors import PodyardError
from podyard.node.kube.answers import Expired
from podyard.node.kube.client import JsonObject, KubeClient
from podyard.node.kube.waits import Waits

logger = logging.getLogger(__name__)

SHORTEST = 1.0
"""Seconds: a watch that ends earlier and has told nothing counts as a failure."""


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
            failure: PodyardError | None = None
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired as error:
                logger.debug("%s is listed anew: %s", self._path, error)
                failed, self._version = not version, ""  # a list that expires at once must not be repeated at once
            except PodyardError as error:
                self._say(f"{self._path} cannot be followed: {error}")
                failed, failure = True, error
            else:
                failed = self._version == version and time.monotonic() - began < SHORTEST
            if failed:
                await asyncio.sleep(self._waits.next(failure))

    def learn(self, found: JsonObject) -> None:
        """An object as a request of ours was answered with it: the watch tells it again, perhaps later."""
        if self.synced and _number(found) > self._number:
            self._keep(found)
            self._on_change()

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
                    self._keep(found)
                elif kind == "DELETED":
                    self.objects.pop(key_of(found), None)
                self._version = found["metadata"]["resourceVersion"]
                self._went_well()
                if kind != "BOOKMARK":
                    self._on_change()

    @property
    def _number(self) -> int:
        return int(self._version) if self._version.isascii() and self._version.isdigit() else 0

    def _keep(self, found: JsonObject) -> None:
        known = self.objects.get(key_of(found))
        if known is None or _number(known) < _number(found):
            self.objects[key_of(found)] = found

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


def _number(found: JsonObject) -> int:
    """An object's version. That versions of one collection are numbers that grow is what API servers promise by now."""
    version = found["metadata"]["resourceVersion"]
    return int(version) if version.isascii() and version.isdigit() else 0
