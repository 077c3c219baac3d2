"""The gRPC server: the only module of the runtime that knows gRPC.

Each service is served under its name in every version that is configured, by the same methods: v1alpha2 is a wire-level
subset of v1. Here errors become gRPC statuses, calls get their traces, and slow ones are logged with their stages.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from podyard.cri import services
from podyard.errors import FailedPrecondition, Internal, PodyardError, translate
from podyard.operations import Trace

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 16 << 20
"""Bytes of a request: the kubelet's own limit for answers."""

Gate = Callable[[], str]
"""Says why no call can be answered now, or "" when it can."""


class Server:
    """Serves services on unix sockets (mode 0600). ``gate`` refuses calls while the daemon recovers."""

    def __init__(self, slow_call: float, gate: Gate) -> None:
        self._slow_call = slow_call
        self._gate = gate
        self._servers: list[grpc.aio.Server] = []
        self._sockets: list[Path] = []

    async def listen(self, path: Path, implementations: Sequence[tuple[str, str, object]]) -> None:
        """Serve on one socket. ``implementations``: version ("v1"), service name, and the object with its methods.

        Raises FailedPrecondition when another daemon listens there.
        """
        await _make_way(path)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MESSAGE_LIMIT),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        for version, service, implementation in implementations:
            server.add_generic_rpc_handlers((self._handlers(version, service, implementation),))
        # The socket must never be open to others, not even before chmod.
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise FailedPrecondition(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(mask)
        await server.start()
        self._servers.append(server)
        self._sockets.append(path)

    async def close(self, grace: float) -> None:
        """Take no new call, let those in flight end within ``grace`` seconds, remove the sockets."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        for path in self._sockets:
            path.unlink(missing_ok=True)

    def _handlers(self, version: str, service: str, implementation: object) -> grpc.GenericRpcHandler:
        handlers = {}
        for method in services.METHODS[service]:
            call = getattr(implementation, method.name, None)
            if version not in method.versions or call is None:
                continue
            if method.name == "Version":
                call = _with_version(call, version)
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                self._wrap(method.name, call),
                request_deserializer=method.request.FromString,
                response_serializer=method.response.SerializeToString,
            )
        return grpc.method_handlers_generic_handler(services.service_name(version, service), handlers)

    def _wrap(
        self, name: str, call: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            reason = self._gate()
            if reason:
                await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
            trace = Trace(name)
            began = time.monotonic()
            try:
                with trace.active():
                    return await call(request)
            except Exception as error:
                await _abort(context, name, error)
            finally:
                if time.monotonic() - began > self._slow_call:
                    logger.warning("slow call: %s", trace)

        return handle


async def _abort(context: grpc.aio.ServicerContext[Any, Any], name: str, error: Exception) -> None:
    if not isinstance(error, PodyardError):
        if not isinstance(error, OSError):
            logger.exception("%s failed unexpectedly", name)
        error = translate(error, f"answering {name}")
    level = logging.WARNING if isinstance(error, Internal) else logging.INFO
    logger.log(level, "%s: %s: %s", name, error.status, error)
    await context.abort(grpc.StatusCode[error.status], str(error))


def _with_version(call: Callable[..., Awaitable[Any]], version: str) -> Callable[[Any], Awaitable[Any]]:
    """Version tells which version it was asked in."""
    if "api_version" not in inspect.signature(call).parameters:
        return call

    async def handle(request: Any) -> Any:
        return await call(request, api_version=version)

    return handle


async def _make_way(path: Path) -> None:
    """Remove a stale socket. Raises FailedPrecondition when somebody listens there, or it is no socket."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not path.exists():
        return
    if not path.is_socket():
        raise FailedPrecondition(f"{path} is in the way and is no socket: remove it, or listen elsewhere")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise FailedPrecondition(f"another daemon listens on {path}: stop it first, or listen elsewhere")
