"""Runtimes to talk to: podyard's own gRPC server on a real socket, with calls that answer what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from podyard.cri import api
from podyard.server import Server

VERSION = api.VersionResponse(
    version="0.1.0", runtime_name="small", runtime_version="1.0", runtime_api_version="as served"
)


class Calls:
    """A service's calls: each answers with a message, raises an error, or does what a function does.

    A call without answer is not there. ``requests`` has what was asked, by the call's name.
    """

    def __init__(self, **answers: Message | Exception | Callable[[Any], Awaitable[Message]]) -> None:
        self.answers = answers
        self.requests: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Message]]:
        if name not in self.answers:
            raise AttributeError(name)

        async def call(request: Any) -> Message:
            self.requests.append((name, request))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Message) else await answer(request)

        return call

    def asked(self, name: str) -> list[Any]:
        """The requests of one call."""
        return [request for called, request in self.requests if called == name]


class Runtimes:
    """Starts servers and stops them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runtime.sock"
        self.gate = ""
        self._running: list[Server] = []

    async def serve(
        self,
        runtime: Sequence[str] = ("v1",),
        images: Sequence[str] = ("v1",),
        *,
        calls: Calls | None = None,
        image_calls: Calls | None = None,
        admin: Calls | None = None,
        path: Path | None = None,
    ) -> None:
        """A runtime that serves the given versions of each service."""
        calls, image_calls = calls or runtime_calls(), image_calls or images_calls()
        server = Server(slow_call=60, gate=lambda: self.gate)
        await server.listen(
            path or self.path,
            [
                *((version, "RuntimeService", calls) for version in runtime),
                *((version, "ImageService", image_calls) for version in images),
                *([("admin", "Admin", admin)] if admin else []),
            ],
        )
        self._running.append(server)

    async def stop(self) -> None:
        """Stop all that run; calls in flight fail."""
        for server in self._running:
            await server.close(0)
        self._running.clear()


def runtime_calls(**answers: Any) -> Calls:
    return Calls(**{"Version": VERSION, "ListContainers": api.ListContainersResponse()} | answers)


def images_calls(**answers: Any) -> Calls:
    return Calls(**{"ImageFsInfo": api.ImageFsInfoResponse(), "ListImages": api.ListImagesResponse()} | answers)


@pytest.fixture
async def runtimes(tmp_path: Path) -> AsyncIterator[Runtimes]:
    found = Runtimes(tmp_path)
    yield found
    await found.stop()


@pytest.fixture
def make_runtime() -> Callable[..., Calls]:
    return runtime_calls


@pytest.fixture
def make_images() -> Callable[..., Calls]:
    return images_calls


@pytest.fixture
def make_calls() -> Callable[..., Calls]:
    return Calls


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Asks again until a condition holds; the channel re-dials within 3 s."""

    async def wait(holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await holds():
                await asyncio.sleep(0.02)

    return wait
