"""The gRPC server: the only module of the runtime that knows gRPC.

Each service is served under its name in every version that is configured, by the same methods: v1alpha2 is a wire-level
subset of v1. Here errors become gRPC statuses, calls get their traces, and slow ones are logged with their stages.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from podyard.cri import services
from podyard.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PodyardError,
    ResourceExhausted,
    Unimplemented,
    translate,
)
from podyard.operations import Trace

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 16 << 20
"""Bytes of a request, and of a list: the kubelet's own limit for answers."""

LISTS = {
    "ListPodSandbox": "StreamPodSandboxes",
    "ListContainers": "StreamContainers",
    "ListContainerStats": "StreamContainerStats",
    "ListPodSandboxStats": "StreamPodSandboxStats",
    "ListPodSandboxMetrics": "StreamPodSandboxMetrics",
    "ListImages": "StreamImages",
}
"""The calls whose answers grow with the number of containers or images, and those that send the same in parts."""

STATUS_LIMIT = 4096
"""Bytes of an error's text as it is sent, escapes included: gRPC clients refuse more than 8 KiB of metadata."""

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
            server.add_insecure_port(f"unix:{quote(str(path))}")
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
            if version not in method.versions:
                continue
            call = getattr(implementation, method.name, None)
            if call is None:
                handlers[method.name] = _not_built(method)
                continue
            if method.server_streaming:
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                    self._wrap_stream(method, call), response_serializer=method.response.SerializeToString
                )
                continue
            if method.name == "Version":
                call = _with_version(call, version)
            # Requests are parsed in the call's own code, so that one that cannot be is refused like any other; answers
            # are serialized there, so that one that is too long is.
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(self._wrap(method, call))
        return grpc.method_handlers_generic_handler(services.service_name(version, service), handlers)

    def _wrap(
        self, method: services.Method, call: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]:
        async def handle(content: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            reason = self._gate()
            if reason:
                await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
            began = time.monotonic()
            left = context.time_remaining()
            trace = Trace(method.name, None if left is None else began + left)
            try:
                request = _parsed(method, content)
                with trace.active():
                    answer: bytes = (await call(request)).SerializeToString()
                _check_length(method.name, answer)
            except Exception as error:
                await _abort(context, method.name, error)
            finally:
                if time.monotonic() - began > self._slow_call:
                    logger.warning("slow call: %s", trace)
            return answer

        return handle

    def _wrap_stream(
        self, method: services.Method, call: Callable[[Any], AsyncGenerator[Any, None]]
    ) -> Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Any]]:
        """``call`` returns an async generator; it is closed when its client goes away or the server stops.

        The call's headers are sent before the first answer is there: to the client they say that it is being served.
        """

        async def handle(content: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            reason = self._gate()
            if reason:
                await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
            try:
                async with contextlib.aclosing(call(_parsed(method, content))) as answers:
                    await context.send_initial_metadata(())
                    async for answer in answers:
                        yield answer
            except Exception as error:
                await _abort(context, method.name, error)

        return handle


def _parsed(method: services.Method, content: bytes) -> Any:
    try:
        return method.request.FromString(content)
    except DecodeError as error:
        raise InvalidArgument(f"the request is no {method.request.__name__}: {error}") from error


def _check_length(name: str, answer: bytes) -> None:
    """Raise ResourceExhausted for a list that no client would take; other answers are the client's to refuse."""
    if name in LISTS and len(answer) > MESSAGE_LIMIT:
        raise ResourceExhausted(
            f"the answer to {name} has {len(answer)} bytes, and CRI clients take {MESSAGE_LIMIT} at most: narrow the "
            f"filter, or call {LISTS[name]}, which sends the list in parts"
        )


def _not_built(method: services.Method) -> grpc.RpcMethodHandler:
    """Says which call is missing; gRPC's own answer for one that is not registered does not."""

    async def refuse(_content: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await _abort(context, method.name, Unimplemented(f"podyard has no {method.name} yet"))

    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], name: str, error: Exception) -> None:
    if not isinstance(error, PodyardError):
        if not isinstance(error, OSError):
            logger.exception("%s failed unexpectedly", name)
        error = translate(error, f"answering {name}")
    level = logging.WARNING if isinstance(error, Internal) else logging.INFO
    logger.log(level, "%s: %s: %s", name, error.status, error)
    await context.abort(grpc.StatusCode[error.status], _fitting(str(error)))


def _fitting(text: str) -> str:
    """The text, or as much of it as a status can carry: bytes other than printable ASCII are sent as three."""
    text = text.encode(errors="replace").decode()  # a path may hold bytes that are no UTF-8
    size = 0
    for position, character in enumerate(text):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if size > STATUS_LIMIT:
            return f"{text[:position]} [cut: {len(text)} characters in all]"
    return text


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
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            # Not known to be dead: a busy daemon lets a connection wait.
            raise FailedPrecondition(f"{path} is in use, or cannot be tried: {error}; listen elsewhere") from error
    raise FailedPrecondition(f"another daemon listens on {path}: stop it first, or listen elsewhere")
