"""The channel to one endpoint, and which version of a service is spoken on it.

A version is chosen once, when the client starts. The channel re-dials by itself when the runtime was away; nothing is
negotiated again then. A runtime that has come back without the chosen version gets no calls in another one: they fail
until it speaks the version again or the client is started anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from podyard.client.endpoints import Endpoint
from podyard.client.errors import from_rpc
from podyard.client.kubelet import check_answer
from podyard.cri import api, services
from podyard.errors import Cancelled, EndpointError, FailedPrecondition, Internal, PodyardError, Unimplemented

__all__ = ["Connection", "is_served", "negotiate"]

logger = logging.getLogger(__name__)

_OPTIONS = (
    # The kubelet's limit for answers. A status's text travels as metadata: errors quote what host tools wrote.
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
    # Re-dialling: 100 ms at first, 3 s at most.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3000),
    # Connections with the same target would share their state otherwise, back-off included.
    ("grpc.use_local_subchannel_pool", 1),
    # Without it the socket's path is sent as the host's name, which servers in Go refuse.
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    # Pulls and some commands have no time limit: a peer that hangs is noticed. Servers accept no ping within 5 minutes.
    ("grpc.keepalive_time_ms", 360_000),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 60_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_PROBES: dict[str, tuple[str, Message]] = {
    "RuntimeService": ("Version", api.VersionRequest()),
    "ImageService": ("ImageFsInfo", api.ImageFsInfoRequest()),
}
"""The call that tells whether a version of a service is there: those of the kubelet."""

_STILL_THERE = 5.0
"""Seconds for the question whether a version is still served."""


LONGEST = 1e9
"""Seconds of a time limit: what gRPC cannot count from now, in 64 bits of nanoseconds since 1970, has passed for it."""


def _limit(timeout: float) -> float | None:
    """A time limit as gRPC takes it; None where there is none, or none that anybody could wait for."""
    return timeout if timeout <= LONGEST else None


class Connection:
    """The channel to one endpoint. Made and used in one event loop; nothing is dialled before the first call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(endpoint.target, options=_OPTIONS)
        self._closing = asyncio.Event()

    async def call(self, service: str, method: services.Method, request: Message, timeout: float) -> Message:
        """Send a request to a service (its full name) and return the answer.

        ``timeout``: seconds; ``math.inf`` for none. Raises EndpointError when nobody can be reached, DeadlineExceeded
        after ``timeout``, Internal when the answer cannot be read or lacks what a kubelet demands, Cancelled when the
        connection is closed meanwhile, FailedPrecondition when it was before, and what the runtime answers.
        """
        self._check_open(method)
        send = self._channel.unary_unary(f"/{service}/{method.name}")
        try:
            content = await send(request.SerializeToString(), timeout=_limit(timeout))
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.endpoint, method.name, timeout) from error
        except asyncio.CancelledError:
            self._check_cancelled(method)
            raise
        answer = self._parsed(method, content)
        check_answer(answer, method.name, self.endpoint)
        return answer

    async def stream(
        self,
        service: str,
        method: services.Method,
        request: Message,
        timeout: float,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Message, None]:
        """Send a request to a call that answers with a stream; the answers, as they come.

        ``timeout``: seconds for the whole stream; ``math.inf`` for none. ``on_open`` is called when the runtime serves
        the call; some runtimes let that be known with the first answer only. Raises as ``call`` does.
        """
        self._check_open(method)
        begin = self._channel.unary_stream(f"/{service}/{method.name}")
        answers = begin(request.SerializeToString(), timeout=_limit(timeout))
        try:
            await answers.initial_metadata()
            if on_open is not None and not answers.done():
                on_open()
            async for content in answers:
                yield self._parsed(method, content)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.endpoint, method.name, timeout) from error
        except asyncio.CancelledError:
            self._check_cancelled(method)
            raise
        finally:
            answers.cancel()

    def _check_open(self, method: services.Method) -> None:
        if self._closing.is_set():
            raise FailedPrecondition(f"the connection to {self.endpoint} is closed: {method.name} was not sent")

    def _check_cancelled(self, method: services.Method) -> None:
        """Raise Cancelled where it is not the caller's task that was cancelled, but the connection that was closed."""
        task = asyncio.current_task()
        if self._closing.is_set() and task is not None and not task.cancelling():
            raise Cancelled(f"the connection to {self.endpoint} was closed during {method.name}") from None

    def _parsed(self, method: services.Method, content: bytes) -> Message:
        try:
            return method.response.FromString(content)
        except DecodeError as error:
            raise Internal(f"{self.endpoint} answered {method.name} with something else: {error}") from error

    async def close(self) -> None:
        """Hang up; calls in flight end with Cancelled. Closing twice is no error."""
        self._closing.set()
        await self._channel.close()


async def negotiate(connection: Connection, service: str, versions: Sequence[str], timeout: float) -> str:
    """The newest of ``versions`` in which a service answers; ``timeout`` seconds for all of them.

    Only "unimplemented" leads on to the next older version. Raises EndpointError with what was tried and what came
    back: no version is there, the socket is absent, stale or mute, or the runtime answered with another error.
    """
    deadline = time.monotonic() + timeout
    tried: list[str] = []
    failure: PodyardError | None = None
    for version in (version for version in services.VERSIONS if version in versions):
        try:
            await _probe(connection, service, version, deadline - time.monotonic())
        except PodyardError as error:
            failure = error
            tried.append(f"{services.service_name(version, service)}: {error.status}: {error}")
            if not isinstance(error, Unimplemented):
                break
        else:
            if version != services.VERSIONS[0]:
                logger.warning(
                    "%s on %s is spoken in %s, which is deprecated (%s)",
                    service,
                    connection.endpoint,
                    version,
                    "; ".join(tried) or "the only version that may be spoken",
                )
            return version
    raise EndpointError(f"no usable {service} on {connection.endpoint}; tried {'; '.join(tried)}") from failure


async def is_served(connection: Connection, service: str, version: str) -> bool:
    """Whether the version is (still) there; a service without versions is taken to be. Any other failure is no "no"."""
    if service not in _PROBES:
        return True
    try:
        await _probe(connection, service, version, _STILL_THERE)
    except Unimplemented:
        return False
    except PodyardError as error:
        logger.debug("whether %s still serves %s is not known: %s", connection.endpoint, service, error)
    return True


async def _probe(connection: Connection, service: str, version: str, timeout: float) -> None:
    name, request = _PROBES[service]
    method = next(method for method in services.METHODS[service] if method.name == name)
    await connection.call(services.service_name(version, service), method, request, timeout)
