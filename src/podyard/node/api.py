"""The node's own API on a unix socket that only its owner can use: /healthz, /readyz, /pods."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from podyard.errors import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, PodyardError
from podyard.node.agent import Agent
from podyard.node.render import pod_list

CLOSE_LIMIT = 2.0
"""Seconds that answers in flight get when the agent ends."""
_LONGEST = 107
"""Bytes of a socket's path (unix(7), sun_path without its final NUL)."""


@asynccontextmanager
async def served(agent: Agent, path: Path) -> AsyncIterator[None]:
    """Serve the API at ``path`` while the block lasts.

    Raises AlreadyExists when somebody answers there, PermissionDenied, InvalidArgument or FailedPrecondition when no
    socket can be made there.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _Readiness(agent).get),
            web.get("/pods", _Pods(agent).get),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_LIMIT)
    await runner.setup()
    try:
        listening = _listen(path)
        try:
            await web.SockSite(runner, listening).start()
            yield
        finally:
            with suppress(FileNotFoundError):
                path.unlink()
    finally:
        await runner.cleanup()


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


class _Readiness:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def get(self, request: web.Request) -> web.Response:
        trouble = self._agent.trouble
        return web.Response(status=503, text=trouble) if trouble else web.Response(text="ok")


class _Pods:
    """One look at the runtime at a time: each asks for every container."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._one = asyncio.Lock()

    async def get(self, request: web.Request) -> web.Response:
        try:
            async with self._one:
                pods = await self._agent.pods()
        except PodyardError as error:
            return web.json_response({"error": str(error)}, status=503)
        return web.json_response(pod_list(pods))


def _listen(path: Path) -> socket.socket:
    """A socket that nobody but its owner may connect to, from its first instant on."""
    if len(os.fsencode(path)) > _LONGEST:
        raise InvalidArgument(f"the API's socket {path}: a socket's path has at most {_LONGEST} bytes")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(path)
        umask = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(umask)
    except PermissionError as error:
        listening.close()
        raise PermissionDenied(f"cannot make the socket {path}: the agent is run by root") from error
    except OSError as error:
        listening.close()
        raise FailedPrecondition(f"cannot make the socket {path}: {error.strerror}") from error
    except BaseException:
        listening.close()
        raise
    return listening


def _clear(path: Path) -> None:
    """Remove a socket that an agent left which was killed."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens and is busy
    raise AlreadyExists(f"another podyard node serves {path}: end it, or name another --api-socket")
