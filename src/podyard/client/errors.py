"""gRPC's errors as podyard's: the only place where a received status is translated."""

from __future__ import annotations

import grpc
import grpc.aio

from podyard.client.endpoints import Endpoint
from podyard.errors import (
    DeadlineExceeded,
    EndpointError,
    PodyardError,
    RegistryUnavailable,
    ResourceExhausted,
    Unavailable,
    for_status,
)

__all__ = ["from_rpc"]

_REGISTRY = "RegistryUnavailable: "
"""How the text of that error begins in every runtime (the kubelet knows it too)."""


_BROKEN = ("Stream removed", "Socket closed", "Connection reset", "Cancelling all calls", "recvmsg:", "sendmsg:")
"""How gRPC's texts begin for a call whose connection ended under it (the fourth is said by its server that stops)."""


def from_rpc(error: grpc.aio.AioRpcError, endpoint: Endpoint, method: str, timeout: float) -> PodyardError:
    """The error for a call that failed.

    The runtime's own text is kept. What the channel itself found is told with the endpoint and the call:
    EndpointError where nobody can be reached or the connection ends under the call, DeadlineExceeded after ``timeout``
    seconds without an answer.
    """
    status, text = error.code().name, error.details() or ""
    if status == "UNAVAILABLE":
        return _unavailable(endpoint, method, text)
    if status == "CANCELLED" and text in {"", "CANCELLED"}:
        # The call was not cancelled here: gRPC's server resets the streams so when it is stopped.
        return _broken(endpoint, method, "the runtime cancelled it, and does not say why")
    if status == "DEADLINE_EXCEEDED" and text in {"", "Deadline Exceeded"}:
        return DeadlineExceeded(f"{endpoint} did not answer {method} within {timeout:.3g} s")
    if status == "RESOURCE_EXHAUSTED" and "message larger than max" in text:
        return ResourceExhausted(f"{method} on {endpoint}: {text}: ask for less, a list by a narrower filter")
    translated = for_status(status, text or f"{method} on {endpoint} failed with {status} and no text")
    if type(translated) is PodyardError and status != "UNKNOWN":
        return PodyardError(f"{status}: {translated}")
    return translated


def _unavailable(endpoint: Endpoint, method: str, text: str) -> PodyardError:
    # gRPC has one code for "nobody is there" and for a runtime that says "not now"; the socket itself tells them apart.
    reason = endpoint.refusal()
    if reason:
        return EndpointError(f"{method} cannot reach {endpoint}: {reason}")
    if text.startswith("failed to connect"):
        return EndpointError(
            f"{method} cannot reach {endpoint}, though its socket is in use (it is dialled again within 3 s): {text}"
        )
    if text.startswith(_BROKEN):
        return _broken(endpoint, method, text)
    if text.startswith(_REGISTRY):
        return RegistryUnavailable(text.removeprefix(_REGISTRY))
    return Unavailable(f"{endpoint} cannot answer {method} now: {text or 'it does not say why'}")


def _broken(endpoint: Endpoint, method: str, reason: str) -> EndpointError:
    return EndpointError(f"{endpoint} was lost during {method}, which may be done or not; try again: {reason}")
