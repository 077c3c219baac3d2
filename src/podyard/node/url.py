"""The Pods of a manifest that an HTTP server has."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

import aiohttp

from podyard import __version__
from podyard.errors import InvalidArgument, PodyardError, Unavailable
from podyard.manifest import parse
from podyard.manifest.source import MAX_BYTES
from podyard.node.wanted import Wanted, marked
from podyard.pods.objects import ManifestObjects

INTERVAL = 20.0
"""Seconds between two requests."""
TIMEOUT = 10.0
"""Seconds for a request and its answer."""


class ManifestUrl:
    """Asks a server for a manifest again and again. While it does not answer, or with something else, what it said
    before counts. ``headers`` are sent with each request. ``objects``: the ConfigMaps and Secrets of the manifest."""

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, *, node: str = "", interval: float = INTERVAL
    ) -> None:
        self.objects = ManifestObjects()
        self._url = url
        self._headers = headers or {}
        self._node = node
        self._interval = interval
        self._wanted = Wanted(blind=True)
        self._text: bytes | None = None

    def owns(self, origin: str) -> bool:
        """Whether it is this URL."""
        return origin == self._url

    async def wanted(self) -> Wanted:
        """What the server said last."""
        return self._wanted

    async def run(self) -> None:
        """Ask for ever, until cancelled."""
        async with aiohttp.ClientSession(
            headers={"User-Agent": f"podyard/{__version__}", **self._headers},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            while True:
                await self._look(session)
                await asyncio.sleep(self._interval)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        try:
            text = await self._fetch(session)
            if text == self._text and not self._wanted.problems:
                return
            manifest = await asyncio.to_thread(parse, text, self._url)
        except PodyardError as error:
            self._wanted = dataclasses.replace(self._wanted, problems={self._url: f"{error}: what runs is left alone"})
            return
        self._text = text
        pods = [marked(pod, self._url, "http", self._node) for pod in manifest.pods]
        self.objects.config_maps, self.objects.secrets = manifest.config_maps, manifest.secrets
        self._wanted = Wanted({pod.full_name: pod for pod in pods})

    async def _fetch(self, session: aiohttp.ClientSession) -> bytes:
        try:
            async with session.get(self._url) as response:
                if response.status != 200:
                    raise Unavailable(f"the manifest {self._url}: the server answers {response.status}")
                text = bytearray()
                async for chunk in response.content.iter_any():
                    text += chunk
                    if len(text) > MAX_BYTES:
                        raise InvalidArgument(f"the manifest {self._url}: larger than {MAX_BYTES} bytes")
                return bytes(text)
        except TimeoutError as error:
            raise Unavailable(f"the manifest {self._url}: no answer within {TIMEOUT:.0f} s") from error
        except aiohttp.ClientError as error:
            raise Unavailable(f"the manifest {self._url} cannot be asked for: {error}") from error
