"""Container logs over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web

from podyard.errors import PodyardError
from podyard.node.serving.options import LogOptions, log_options
from podyard.node.serving.pods import NodePods
from podyard.pods import PodEngine
from podyard.pods.loglines import LogLine

logger = logging.getLogger(__name__)

AHEAD = 128 << 10
"""Bytes that are read before those that were read earlier are sent."""


class Logs:
    """``/containerLogs/{namespace}/{pod}/{container}``."""

    def __init__(self, engine: PodEngine, pods: NodePods) -> None:
        self._engine = engine
        self._pods = pods

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Lines, as the query asks for them."""
        options = log_options(request.query)
        name = request.match_info["container"]
        named = request.match_info
        # What is not there is told before the answer begins.
        pod = await self._pods.log(named["namespace"], named["pod"], name, before=options.previous)
        following = options.follow and not options.previous
        lines = self._engine.logs(
            pod, [name], following=following, before=options.previous, tail=options.tail, since=options.since
        )
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            async with aclosing(lines):
                await _send(response, lines, options)
            await response.write_eof()
        except* PodyardError as errors:
            logger.warning("the log of %s/%s breaks off: %s", pod.full_name, name, errors.exceptions[0])
            if request.transport is not None:
                request.transport.abort()
        except* ConnectionError:
            logger.debug("the reader of the log of %s/%s has gone", pod.full_name, name)
        return response


async def _send(response: web.StreamResponse, lines: AsyncIterator[LogLine], options: LogOptions) -> None:
    """Send lines as they come; what comes while others are sent goes out together."""
    waiting = bytearray()
    news, room, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    left = options.limit

    async def write() -> None:
        ended = False
        while not ended:
            await news.wait()
            news.clear()
            ended = over.is_set()
            data = bytes(waiting)
            waiting.clear()
            room.set()
            if data:
                await response.write(data)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        async for line in lines:
            content = options.content(line)[:left]
            left = None if left is None else left - len(content)
            waiting += content
            news.set()
            if left == 0:
                break
            if len(waiting) > AHEAD:
                room.clear()
                await room.wait()
        over.set()
        news.set()
