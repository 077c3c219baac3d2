"""The two ends of a channel, as a session's user has them: bytes that arrive, and bytes that are sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from podyard.errors import FailedPrecondition, PodyardError, ResourceExhausted

__all__ = ["CHUNK", "Inbound", "Outbound"]

CHUNK = 64 << 10
"""Bytes that are read or sent at a time."""


class Inbound:
    """What arrives on one channel. Iterating gives pieces of at most ``CHUNK`` bytes, until the channel ends.

    Nothing is lost when nobody reads: the whole connection pauses once some hundred kilobytes wait, its other channels
    with it. So whatever may arrive must be read.
    """

    def __init__(self, consumed: Callable[[int], None] = lambda count: None) -> None:
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = False
        self._failure: PodyardError | None = None
        self._consumed = consumed

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive; what has arrived may still wait."""
        return self._ended

    @property
    def waiting(self) -> bool:
        """Whether something has arrived that nobody has read."""
        return bool(self._pieces)

    async def read(self, limit: int = CHUNK) -> bytes:
        """What is there, ``limit`` bytes at most, as soon as there is something; b"" at the end.

        Raises Unavailable when the connection broke before the channel's end.
        """
        while not self._pieces and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._pieces:
            if self._failure is not None:
                raise self._failure
            return b""
        taken = self._take(limit)
        self._consumed(len(taken))
        return taken

    async def read_all(self, limit: int) -> bytes:
        """Everything up to the channel's end. Raises ResourceExhausted above ``limit`` bytes, and as ``read`` does."""
        found = bytearray()
        async for piece in self:
            found += piece
            if len(found) > limit:
                raise ResourceExhausted(f"the other end sent more than the {limit} bytes that are expected")
        return bytes(found)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    def _take(self, limit: int) -> bytes:
        first = self._pieces.popleft()
        if len(first) > limit:
            self._pieces.appendleft(first[limit:])
            return first[:limit]
        pieces, total = [first], len(first)
        while self._pieces and total + len(self._pieces[0]) <= limit:
            pieces.append(self._pieces.popleft())
            total += len(pieces[-1])
        return first if len(pieces) == 1 else b"".join(pieces)

    # --- for the connection

    def feed(self, data: bytes) -> bool:
        """Something has arrived; False when the channel has ended and it is dropped."""
        if self._ended or not data:
            return False
        self._pieces.append(data)
        self._news.set()
        return True

    def end(self, failure: PodyardError | None = None) -> None:
        """Nothing more comes; ``failure``: because the connection broke. Only the first end counts."""
        if not self._ended:
            self._ended, self._failure = True, failure
            self._news.set()


class Outbound:
    """What is sent on one channel. ``send(data, last)`` gives bytes to the connection, ``drained`` waits for room."""

    def __init__(self, send: Callable[[bytes, bool], None], drained: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._drained = drained
        self._refusal = ""

    async def write(self, data: bytes) -> None:
        """Send; returns when the connection has room for more: a peer that does not read holds its sender up.

        Raises FailedPrecondition when the channel is closed, from either end, and Unavailable when the connection
        breaks.
        """
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            self._check()
            self._send(bytes(view[start : start + CHUNK]), False)
            await self._drained()

    async def close(self) -> None:
        """Tell the other end that nothing more comes; closing again is no error.

        Raises Unimplemented where the protocol that was agreed on cannot say it.
        """
        if not self._refusal:
            self._send(b"", True)
            self._refusal = "this end has closed it"
            await self._drained()

    def _check(self) -> None:
        if self._refusal:
            raise FailedPrecondition(f"nothing more can be sent on this channel: {self._refusal}")

    # --- for the connection

    def refuse(self, reason: str) -> None:
        """The other end takes nothing more."""
        self._refusal = self._refusal or reason
