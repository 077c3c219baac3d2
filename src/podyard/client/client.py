"""One runtime: its services together, as a kubelet connects to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from podyard.client.admin import AdminClient
from podyard.client.connection import Connection, negotiate
from podyard.client.endpoints import Endpoint
from podyard.client.images import ImageClient
from podyard.client.runtime import RuntimeClient
from podyard.cri import services
from podyard.errors import InvalidArgument

__all__ = ["Client"]

PATIENCE = 5.0
"""Seconds for the negotiation with one service: what a kubelet grants a socket that accepts and never answers."""


class Client:
    """A runtime that was found usable. Made by ``connect``; an asynchronous context manager that closes it."""

    def __init__(
        self,
        runtime: Connection,
        images: Connection,
        runtime_version: str,
        image_version: str,
        *,
        streamed_lists: bool = False,
    ) -> None:
        self._connections = [runtime] if runtime is images else [runtime, images]
        self.runtime = RuntimeClient(runtime, runtime_version, streamed_lists=streamed_lists)
        self.images = ImageClient(images, image_version, streamed_lists=streamed_lists)
        self.admin = AdminClient(runtime, services.ADMIN)

    @classmethod
    async def connect(
        cls,
        runtime_endpoint: Endpoint | str,
        image_endpoint: Endpoint | str | None = None,
        *,
        versions: Sequence[str] = services.VERSIONS,
        timeout: float = PATIENCE,
        streamed_lists: bool = False,
    ) -> Self:
        """Connect as a kubelet does, and choose for each service the newest version that both ends speak.

        ``image_endpoint``: where the ImageService is; by default the runtime's. ``versions``: those that may be spoken,
        in any order; ("v1",) is what a kubelet from 1.26 on does. ``timeout``: seconds for each service.
        ``streamed_lists``: ask for lists by the Stream* calls, and in one piece only where the runtime lacks them.

        Raises InvalidArgument for an endpoint or version that cannot be, and EndpointError when a service is not usable
        (``negotiate`` says when).
        """
        _check_versions(versions)
        runtime_at = _endpoint(runtime_endpoint)
        images_at = runtime_at if image_endpoint is None else _endpoint(image_endpoint)
        runtime = Connection(runtime_at)
        images = runtime if images_at == runtime_at else Connection(images_at)
        try:
            runtime_version = await negotiate(runtime, RuntimeClient.SERVICE, versions, timeout)
            image_version = await negotiate(images, ImageClient.SERVICE, versions, timeout)
        except BaseException:
            await asyncio.gather(runtime.close(), images.close())
            raise
        return cls(runtime, images, runtime_version, image_version, streamed_lists=streamed_lists)

    @property
    def runtime_version(self) -> str:
        """The version that the RuntimeService is spoken in, such as "v1"."""
        return self.runtime.version_spoken

    @property
    def image_version(self) -> str:
        """The version that the ImageService is spoken in."""
        return self.images.version_spoken

    @property
    def endpoint(self) -> str:
        """Where the RuntimeService is."""
        return str(self._connections[0].endpoint)

    async def close(self) -> None:
        """Hang up; calls in flight end with Cancelled. Closing twice is no error."""
        await asyncio.gather(*(connection.close() for connection in self._connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _endpoint(given: Endpoint | str) -> Endpoint:
    return Endpoint.parse(given) if isinstance(given, str) else given


def _check_versions(versions: Sequence[str]) -> None:
    unknown = [version for version in versions if version not in services.VERSIONS]
    if unknown or not versions:
        raise InvalidArgument(
            f"versions {list(versions)} of the CRI cannot be spoken: one or more of {', '.join(services.VERSIONS)} can"
        )
