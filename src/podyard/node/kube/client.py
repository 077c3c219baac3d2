"""Requests to an API server."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec

from podyard import __version__
from podyard.errors import DataLoss, Unavailable
from podyard.node.kube.answers import Throttled, error_of, watch_error
from podyard.node.kube.config import Access

JsonObject = dict[str, Any]
PatchKind = Literal["merge", "strategic-merge"]

TIMEOUT = 15.0
"""Seconds for a request and its answer."""
CONNECT_TIMEOUT = 5.0
WATCH_SECONDS = 300
"""Seconds after which the server is asked to end a watch; up to twice as many, so that watches do not end together."""
TRIES = 5
"""How often a request is sent that the server throttles."""
LONGEST_DELAY = 20.0
"""Seconds: a longer Retry-After is left to the caller."""
ANSWER_LIMIT = 64 << 20
EVENT_LIMIT = 8 << 20
"""Bytes of one event of a watch: an object has 1.5 MiB at most where it is stored."""
PAGE = 100
"""Objects in one part of a list."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A watch may be silent for minutes: a server that has vanished is noticed after one."""


class KubeClient:
    """The connections to one API server; an asynchronous context manager that closes them.

    All calls raise what ``answers.error_of`` makes of a refusal, Unavailable when the server cannot be reached or does
    not answer in time, ConfigError when a file of the access cannot be used, DataLoss for what is no JSON object. A
    request that the server throttles is sent again; one that may have been carried out never is.
    """

    def __init__(self, access: Access, *, timeout: float = TIMEOUT) -> None:
        self.server = access.server
        self._access = access
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._tls_changed: tuple[int, ...] = ()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"podyard/{__version__}", "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> JsonObject:
        """An object."""
        return await self._call("GET", path, params=params)

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[JsonObject], str]:
        """All objects of a collection, asked for in parts, and the resource version that a watch goes on from.

        Raises Expired when the server forgot the state that it began with before the last part.
        """
        found: list[JsonObject] = []
        more = ""
        while True:
            asked = {**(params or {}), "limit": str(PAGE)} | ({"continue": more} if more else {})
            part = await self._call("GET", path, params=asked)
            metadata = _with_version(part, f"listing {path}")["metadata"]
            found += [_with_version(one, f"listing {path}") for one in part.get("items") or []]
            more = metadata.get("continue", "")
            if not more:
                return found, metadata["resourceVersion"]

    async def create(self, path: str, body: JsonObject) -> JsonObject:
        """Add an object to a collection, or ask a subresource; the answer."""
        return await self._call("POST", path, body=body)

    async def update(self, path: str, body: JsonObject) -> JsonObject:
        """Replace an object. Raises Conflict when it is not the version that ``body`` has."""
        return await self._call("PUT", path, body=body)

    async def patch(self, path: str, body: JsonObject, kind: PatchKind = "strategic-merge") -> JsonObject:
        """Change parts of an object. Raises Conflict when its uid or version is not what ``body`` has."""
        return await self._call("PATCH", path, body=body, content_type=f"application/{kind}-patch+json")

    async def delete(self, path: str, *, uid: str, grace: int | None = None) -> None:
        """Delete the object with that uid. ``grace``: seconds; 0 for at once, None for what the object says.

        Raises NotFound or Conflict when that one is gone.
        """
        body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        await self._call("DELETE", path, body=body)

    async def watch(
        self, path: str, version: str, params: Mapping[str, str] | None = None
    ) -> AsyncGenerator[tuple[str, JsonObject], None]:
        """The changes of a collection after ``version``: "ADDED", "MODIFIED", "DELETED" or "BOOKMARK", and the object.

        Ends when the server ends it. Raises Expired when it does not know ``version`` any more.
        """
        seconds = round(WATCH_SECONDS * random.uniform(1, 2))
        asked = {
            **(params or {}),
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        doing = f"watching {path}"
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT, connect=self._timeout, sock_read=seconds + self._timeout
        )
        async with self._answer("GET", path, asked, limits) as response:
            _keep_alive(response)
            if response.status != 200:
                raise error_of(response.status, await _read(response), doing, response.headers.get("Retry-After", ""))
            async for line in _lines(response, doing):
                event = _decoded(line, doing)
                kind, found = event.get("type"), event.get("object")
                if kind == "ERROR":
                    raise watch_error(found, doing)
                if not isinstance(kind, str):
                    raise DataLoss(f"{doing}: an event without its type")
                yield kind, _with_version(found, doing)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        doing = f"{method} {path}"
        limits = aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT_TIMEOUT)
        for left in reversed(range(TRIES)):
            async with self._answer(method, path, params, limits, body=body, content_type=content_type) as response:
                content = await _read(response)
                if 200 <= response.status < 300:
                    return _decoded(content, doing)
                retry_after = response.headers.get("Retry-After", "")
            error = error_of(response.status, content, doing, retry_after)
            if not isinstance(error, Throttled) or not left or error.delay > LONGEST_DELAY:
                raise error
            await asyncio.sleep(max(error.delay, 0.1) * random.uniform(1, 1.2))
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        *,
        body: JsonObject | None = None,
        content_type: str = "",
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        assert self._session is not None, "used outside of its block"
        headers = {"Content-Type": content_type} if body is not None else {}
        if token := self._access.bearer():
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.request(
                method,
                self.server + path,
                params=params,
                data=msgspec.json.encode(body) if body is not None else None,
                headers=headers,
                timeout=limits,
                allow_redirects=False,
                ssl=await self._context(),
                server_hostname=self._access.server_name or None,
            ) as response:
                yield response
        except TimeoutError as error:
            raise Unavailable(f"{method} {path}: the API server {self.server} does not answer in time") from error
        except aiohttp.ClientError as error:
            raise Unavailable(f"{method} {path}: the API server {self.server} cannot be reached: {error}") from error

    async def _context(self) -> ssl.SSLContext | bool:
        """The TLS settings, read again when a file has changed: certificates are renewed while we run."""
        if not self.server.startswith("https:"):
            return True
        changed = self._access.changed
        if self._tls is None or changed != self._tls_changed:
            self._tls = await asyncio.to_thread(self._access.tls)
            self._tls_changed = changed
        return self._tls


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    transport = response.connection.transport if response.connection is not None else None
    open_socket = transport.get_extra_info("socket") if transport is not None else None
    if open_socket is None:
        return  # the answer ended at once, with its connection
    open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        open_socket.setsockopt(socket.IPPROTO_TCP, option, value)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > ANSWER_LIMIT:
            raise DataLoss(f"{response.url.path}: the API server's answer is longer than {ANSWER_LIMIT} bytes")
    return bytes(content)


async def _lines(response: aiohttp.ClientResponse, doing: str) -> AsyncGenerator[bytes, None]:
    """The lines of a stream; what stands after the last one was cut off and is none."""
    begun = bytearray()
    async for chunk in response.content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            begun += part
            if begun:
                yield bytes(begun)
            begun.clear()
        begun += rest
        if len(begun) > EVENT_LIMIT:
            raise DataLoss(f"{doing}: an event is longer than {EVENT_LIMIT} bytes")


def _with_version(found: Any, doing: str) -> JsonObject:
    """An object that has its metadata, and a version in it."""
    metadata = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
        raise DataLoss(f"{doing}: the API server sends an object without a resourceVersion")
    return dict(found)


def _decoded(content: bytes, doing: str) -> JsonObject:
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataLoss(f"{doing}: the API server's answer is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise DataLoss(f"{doing}: the API server's answer is not a JSON object")
    return decoded
