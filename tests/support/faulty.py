"""A proxy before a registry that counts what is asked for and does it wrong where a test says so."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from aiohttp import web

Fault = Callable[[web.Request, web.Response], Awaitable[web.StreamResponse]]
"""Gets the request and the registry's good answer, gives what the client gets."""


class Proxy:
    """``address`` is "127.0.0.1:port". ``asked`` holds each request's path, ``seen`` the requests' headers by path."""

    def __init__(self, upstream: str) -> None:
        self.address = ""
        self.asked: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._upstream = upstream
        self._faults: list[tuple[str, int, Fault]] = []
        self._session: aiohttp.ClientSession | None = None

    def fault(self, part: str, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` requests whose path has ``part`` in it meet a fault."""
        self._faults.append((part, times, fault))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def count(self, part: str) -> Counter[str]:
        """How often each path that has ``part`` in it was asked for."""
        return Counter(path for path in self.asked if part in path)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        """Listen on a free port of 127.0.0.1."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.address = f"127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession(auto_decompress=False) as self._session:
                yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.seen.append((request.path_qs, dict(request.headers)))
        answer = await self._forward(request)
        for position, (part, times, fault) in enumerate(self._faults):
            if part in request.path:
                if times == 1:
                    del self._faults[position]
                else:
                    self._faults[position] = (part, times - 1, fault)
                return await fault(request, answer)
        return answer

    async def _forward(self, request: web.Request) -> web.Response:
        assert self._session is not None
        headers = {key: request.headers[key] for key in ("Accept", "Range") if key in request.headers}
        url = f"http://{self._upstream}{request.path}"
        async with self._session.request(request.method, url, headers=headers, allow_redirects=False) as response:
            kept = ("Content-Type", "Content-Range", "Docker-Content-Digest")
            passed = {key: response.headers[key] for key in kept if key in response.headers}
            return web.Response(status=response.status, body=await response.read(), headers=passed)


def status(code: int, headers: dict[str, str] | None = None, text: str = "") -> Fault:
    """Answer with a status instead."""

    async def fault(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, text=text)

    return fault


def cut(after: int) -> Fault:
    """Announce the whole body, send ``after`` bytes of it and close the connection."""

    async def fault(request: web.Request, answer: web.Response) -> web.StreamResponse:
        body = answer.body
        assert isinstance(body, bytes)
        passed = {key: value for key, value in answer.headers.items() if key in {"Content-Range", "Content-Type"}}
        passed["Content-Length"] = str(len(body))
        response = web.StreamResponse(status=answer.status, headers=passed)
        await response.prepare(request)
        await response.write(body[:after])
        assert request.transport is not None
        request.transport.close()
        return response

    return fault


def ignore_range(body: bytes) -> Fault:
    """Answer 200 with the whole ``body``, whatever range was asked for."""

    async def fault(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.Response(body=body)

    return fault


def alter(change: Callable[[bytes], bytes]) -> Fault:
    """Send another body, without the registry's word on its digest."""

    async def fault(request: web.Request, answer: web.Response) -> web.StreamResponse:
        body = answer.body
        assert isinstance(body, bytes)
        return web.Response(status=answer.status, body=change(body), content_type=answer.content_type)

    return fault


def redirect(target: Callable[[web.Request], str]) -> Fault:
    """Send the client elsewhere."""

    async def fault(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": target(request)})

    return fault
