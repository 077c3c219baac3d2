"""The daemon's side of the nursery: starts workers through it, and ends it when none was needed for a while."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podyard.errors import Internal
from podyard.images.unpack.limits import MESSAGE_LIMIT
from podyard.images.unpack.running import Forked, environment

logger = logging.getLogger(__name__)

ANSWER_LIMIT = 30.0
"""Seconds for an answer of the nursery."""
IDLE_LIMIT = 60.0
"""Seconds without a worker after which the nursery ends."""

Answer = tuple[dict[str, Any], list[int]]


class Workers:
    """Starts workers. All calls come from the event loop's thread."""

    def __init__(self) -> None:
        self._nursery: _Nursery | None = None
        self._running = 0
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Future[int]] = set()

    async def start(self, program: str, request: Mapping[str, Any]) -> Forked:
        """Start a worker ("worker", "packer") with its request; ask for its ``code`` and ``hang_up`` in any case.

        Raises Internal when it cannot be started.
        """
        self.prepare()
        assert self._nursery is not None
        nursery = self._nursery
        self._running += 1
        try:
            return await nursery.start({"run": program, "request": request})
        finally:
            self._running -= 1
            self._wait_for_rest()

    def prepare(self) -> None:
        """Workers will be wanted: start the nursery, which takes longer than most requests of a registry.

        Raises Internal when it cannot be started.
        """
        if self._nursery is not None and self._nursery.ended:
            self._nursery.close()
            self._nursery = None
        if self._nursery is None:
            self._nursery = _Nursery(self.retire)
        self._wait_for_rest()

    def retire(self, ending: asyncio.Future[int]) -> None:
        """A worker has given its result: see to its end, of which nothing depends any more."""
        self._leaving.add(ending)
        ending.add_done_callback(self._left)

    async def close(self) -> None:
        """End the nursery, and with it all workers."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=ANSWER_LIMIT)
        self._end()

    def _left(self, ending: asyncio.Future[int]) -> None:
        self._leaving.discard(ending)
        if not ending.cancelled() and (error := ending.exception()) is not None:
            logger.warning("the end of an unpack worker is not known: %s", error)

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _wait_for_rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_LIMIT, self._rest)

    def _rest(self) -> None:
        if self._running or (self._nursery is not None and self._nursery.workers):
            self._wait_for_rest()
        else:
            self._end()


class _Nursery:
    """The process, and the questions that it has not answered yet."""

    def __init__(self, retire: Callable[[asyncio.Future[int]], None]) -> None:
        self._retire = retire
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self.workers = 0
        self._waiting: deque[asyncio.Future[Answer]] = deque()
        self._loop = asyncio.get_running_loop()
        # -P: whatever lies in the working directory is not a module.
        argv = [sys.executable, "-P", "-m", "podyard.images.unpack.nursery", str(os.getpid())]
        with other:
            try:
                self._process = subprocess.Popen(argv, stdin=other.fileno(), env=environment(), start_new_session=True)
            except OSError as error:
                self._channel.close()
                raise Internal(f"cannot run {sys.executable}: {error.strerror}") from error
        self._loop.add_reader(self._channel, self._read)

    @property
    def ended(self) -> bool:
        """Whether it can start no worker any more."""
        return self._channel.fileno() < 0 or self._process.poll() is not None

    async def start(self, order: Mapping[str, Any]) -> Forked:
        """A new worker."""
        orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        orders.setblocking(False)
        (output, out), (complaints, err) = os.pipe(), os.pipe()
        asked = asyncio.ensure_future(self._ask(order, (theirs.fileno(), out, err)))
        try:
            answer, (pidfd,) = await asyncio.shield(asked)
        except BaseException:
            orders.close()
            for descriptor in (output, complaints):
                os.close(descriptor)
            # It may still come to be, and must not write any more when the asker goes on.
            abandoned = asyncio.ensure_future(self._abandon(asked))
            self._retire(abandoned)
            await asyncio.shield(abandoned)
            raise
        finally:
            theirs.close()
            for descriptor in (out, err):
                os.close(descriptor)
        self.workers += 1
        pipes = os.fdopen(output, "rb", 0), os.fdopen(complaints, "rb", 0)
        return Forked(answer["pid"], pidfd, orders, pipes, self._reap)

    def close(self) -> None:
        """End it."""
        if self._channel.fileno() >= 0:
            self._cut()
        self._process.kill()
        self._process.wait()

    async def _reap(self, pid: int) -> int:
        self.workers -= 1
        answer, _ = await self._ask({"reap": pid}, ())
        return int(answer["code"])

    async def _ask(self, order: Mapping[str, Any], descriptors: Sequence[int]) -> Answer:
        """Raises Internal when it is gone, or does not answer."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append(answer)
        try:
            socket.send_fds(self._channel, [json.dumps(order).encode()], descriptors)
        except OSError as error:
            self._waiting.remove(answer)
            raise Internal(f"the process that starts unpack workers takes no order: {error.strerror}") from error
        try:
            # The wait goes on when the asker has gone: the answers come in the order of the questions.
            async with asyncio.timeout(ANSWER_LIMIT):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise Internal(f"the process that starts unpack workers is silent for {ANSWER_LIMIT:g} s") from None

    def _read(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._channel, MESSAGE_LIMIT, 1)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._cut()
            return
        self._waiting.popleft().set_result((json.loads(message), list(descriptors)))

    def _cut(self) -> None:
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for answer in self._waiting:
            answer.set_exception(Internal("the process that starts unpack workers has ended"))
            answer.exception()  # an asker that has gone away does not look at it
        self._waiting.clear()

    async def _abandon(self, asked: asyncio.Task[Answer]) -> int:
        try:
            answer, (pidfd,) = await asked
        except Internal:
            return 0  # there is none
        self.workers += 1
        forked = Forked(answer["pid"], pidfd, None, (None, None), self._reap)
        forked.kill()
        return await forked.code()
