"""A connection for one command."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from podyard.cli.settings import Settings, current, endpoint_options, timeout_option
from podyard.errors import EndpointError

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.pods import PodEngine
    from podyard.pods.objects import Objects

HINT = '"podyard serve" starts podyard\'s own; --runtime-endpoint names another'


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    """A client of the runtime that the settings name.

    Raises InvalidArgument for an endpoint that cannot be one, and EndpointError, saying how to get a runtime.
    """
    # gRPC's own notes about connections would stand between what commands print; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from podyard.client import Client

    try:
        client = await Client.connect(settings.runtime_endpoint, settings.image_endpoint, timeout=settings.timeout)
    except EndpointError as error:
        raise EndpointError(f"{error} ({HINT})") from error
    async with client:
        yield client


def pod_engine(client: Client, settings: Settings, objects: Objects | None = None) -> PodEngine:
    """What carries Pods out, with its files where the settings say. ``objects``: what its Pods may use."""
    from podyard.pods import PodEngine
    from podyard.pods.engine import LOG_ROOT, ROOT

    return PodEngine(client, settings.pod_root or ROOT, log_root=settings.log_root or LOG_ROOT, objects=objects)


def with_client(function: Callable[..., Awaitable[int | None]]) -> Callable[..., int | None]:
    """Make a command of ``function(client, settings, **parameters)``: its result is the exit code (None: 0)."""
    return timeout_option(with_client_only(function))


def with_client_only(function: Callable[..., Awaitable[int | None]]) -> Callable[..., int | None]:
    """As ``with_client``, for a command whose --timeout is its own."""

    @functools.wraps(function)
    def command(**parameters: Any) -> int | None:
        settings = current()

        async def call() -> int | None:
            async with connected(settings) as client:
                return await function(client, settings, **parameters)

        return asyncio.run(call())

    return endpoint_options(command)
