"""The gRPC health checking protocol, grpc.health.v1 (GRPC Core documentation, "GRPC Health Checking Protocol")."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from podyard import __version__

__all__ = ["health_check"]

_METHOD = "/grpc.health.v1.Health/Check"
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_OPTIONS = (
    ("grpc.primary_user_agent", f"podyard-probe/{__version__}"),
    ("grpc.enable_http_proxy", 0),
    # Probes of one server must not share a connection, nor the back-off of one that failed.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 10),
)


async def health_check(host: str, port: int, service: str, timeout: float) -> str:
    """Why a server does not serve; "" when it does.

    ``service``: whose health is asked for, "" for the server's. ``timeout``: seconds for connection and answer.
    """
    address = f"[{host}]" if ":" in host else host
    # Question and answer have one field each, a string and a number, as protobuf's own wrappers have.
    question = StringValue(value=service).SerializeToString()
    async with grpc.aio.insecure_channel(f"{address}:{port}", options=_OPTIONS) as channel:
        try:
            answer = await channel.unary_unary(_METHOD)(question, timeout=timeout, wait_for_ready=False)
        except grpc.aio.AioRpcError as error:
            return f"port {port}: {error.code().name}: {error.details()}"
    try:
        status = Int32Value.FromString(answer).value
    except DecodeError:
        return f"port {port} answered with something else than a health status"
    return "" if status == 1 else f"port {port}: the service {service!r} is {_STATUSES.get(status, status)}"
