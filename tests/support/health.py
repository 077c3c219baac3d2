"""A gRPC server with the health service, for probes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

Answer = Callable[[bytes], Awaitable[bytes]]
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""Answers of grpc.health.v1."""


@asynccontextmanager
async def serving(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server whose health ``answer`` tells, from the question's bytes; its port."""

    async def check(request: bytes, context: object) -> bytes:
        return await answer(request)

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(f"{host}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
