"""What the clients of all services share."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, ClassVar

from google.protobuf.message import Message

from podyard.client.connection import Connection, is_served
from podyard.client.kubelet import time_limit
from podyard.cri import services
from podyard.errors import EndpointError, InvalidArgument, PodyardError, Unimplemented

__all__ = ["ServiceClient"]

logger = logging.getLogger(__name__)


class ServiceClient:
    """One service on a connection, in the version that was chosen when the client started."""

    SERVICE: ClassVar[str]
    """The service's name without its version."""

    def __init__(self, connection: Connection, version: str, *, streamed_lists: bool = False) -> None:
        self.version_spoken = version
        self.streamed_lists = streamed_lists
        """Whether lists are asked for as streams first: those have no limit of 16 MiB, and few runtimes have them."""
        self._connection = connection
        self._name = services.service_name(version, self.SERVICE)
        self._methods = {method.name: method for method in services.METHODS[self.SERVICE]}

    async def call(self, method: str, request: Message, timeout: float | None = None) -> Any:
        """Any unary call by its name in the protocol, such as "ListContainers"; the answer is its response message.

        ``timeout``: seconds; None for the kubelet's, ``math.inf`` for no limit. Raises Unimplemented when the endpoint
        lacks the call or something that the request asks for, EndpointError when nobody can be reached or the chosen
        version is not served any more, and otherwise what ``Connection.call`` raises.
        """
        known = self._method(method, request, streaming=False)
        limit = time_limit(request) if timeout is None else timeout
        try:
            return await self._connection.call(self._name, known, request, limit)
        except Unimplemented as error:
            raise await self._explained(method, error) from error

    async def stream(
        self, method: str, request: Message, timeout: float | None = None, on_open: Callable[[], None] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Any call that answers with a stream, by its name in the protocol; its response messages, as they come.

        ``timeout``: as for ``call``, for the whole stream. ``on_open`` is called when the runtime serves the call.
        Raises as ``call`` does.
        """
        known = self._method(method, request, streaming=True)
        limit = time_limit(request) if timeout is None else timeout
        try:
            async with aclosing(self._connection.stream(self._name, known, request, limit, on_open)) as answers:
                async for answer in answers:
                    yield answer
        except Unimplemented as error:
            raise await self._explained(method, error) from error

    async def _streamed(self, method: str, request: Message) -> list[Any] | None:
        """All answers of a list's stream; None when lists are not to be streamed, or the endpoint has no such call."""
        if not self.streamed_lists:
            return None
        try:
            return [answer async for answer in self.stream(method, request)]
        except Unimplemented as error:
            logger.debug("%s: lists are asked for in one piece from here on", error)
            self.streamed_lists = False
            return None

    def _method(self, name: str, request: Message, *, streaming: bool) -> services.Method:
        method = self._methods.get(name)
        if method is None:
            raise InvalidArgument(f"{self._name} has no call {name!r}: it has {', '.join(sorted(self._methods))}")
        if method.server_streaming != streaming:
            kinds = ("with a stream: it is for stream()", "with one message: it is for call()")
            raise InvalidArgument(f"{name} answers {kinds[0] if method.server_streaming else kinds[1]}")
        if not isinstance(request, method.request):
            raise InvalidArgument(f"{name} takes a {method.request.__name__}, not a {type(request).__name__}")
        if self.version_spoken not in method.versions:
            raise Unimplemented(
                f"{self._connection.endpoint} speaks {self.version_spoken}, which lacks {name}; "
                f"it is in {' and '.join(method.versions)}"
            )
        return method

    async def _explained(self, method: str, error: Unimplemented) -> PodyardError:
        """Whether the endpoint lacks one call, or the whole version since it came back from a restart."""
        endpoint = self._connection.endpoint
        if await is_served(self._connection, self.SERVICE, self.version_spoken):
            return Unimplemented(f"{endpoint} lacks {method} of {self._name}, or what was asked of it: {error}")
        return EndpointError(
            f"{endpoint} does not serve {self._name} any more, the version chosen when this client started: {method} "
            f"failed. Restart the client (of a node: the agent) to choose again, or bring a runtime back that speaks "
            f"{self.version_spoken}"
        )
