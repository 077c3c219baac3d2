"""Exec, attach, port-forward and run.

As a kubelet does it: the runtime is asked for a URL, and the client's connection is handed on to it.
"""

from __future__ import annotations

from aiohttp import web

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.node.serving.options import flag
from podyard.node.serving.pods import NodePods
from podyard.node.serving.relay import check_upgrade, relay
from podyard.pods import PodView

RUN_LIMIT = 300
"""Seconds for a command of ``/run``."""


class CommandFailed(PodyardError):
    """A command of ``/run`` has not ended well."""


class Streams:
    """The requests, each with a Pod's namespace and name in its path, and its uid where a client knows it."""

    def __init__(self, client: Client, pods: NodePods) -> None:
        self._client = client
        self._pods = pods

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """``/exec/{namespace}/{pod}[/{uid}]/{container}``: a command's standard streams."""
        check_upgrade(request)
        wanted = _streams(request)
        container_id = await self._container(request)
        command = request.query.getall("command", [])
        if not command:
            raise InvalidArgument("say which command: command=…, once for each word of it")
        return await self._relay(request, "Exec", api.ExecRequest(container_id=container_id, cmd=command, **wanted))

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """``/attach/{namespace}/{pod}[/{uid}]/{container}``: those of the container's own process."""
        check_upgrade(request)
        wanted = _streams(request)
        container_id = await self._container(request)
        return await self._relay(request, "Attach", api.AttachRequest(container_id=container_id, **wanted))

    async def port_forward(self, request: web.Request) -> web.StreamResponse:
        """``/portForward/{namespace}/{pod}[/{uid}]``: connections to ports, which WebSocket clients name before."""
        check_upgrade(request)
        ports = [_port(text) for line in request.query.getall("port", []) for text in line.split(",")]
        sandbox_id = (await self._pod(request)).sandbox_id
        return await self._relay(request, "PortForward", api.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports))

    async def run(self, request: web.Request) -> web.Response:
        """``/run/{namespace}/{pod}[/{uid}]/{container}``: a command, its words apart by blanks, and what it writes.

        Raises CommandFailed when it does not end with 0.
        """
        command = request.query.get("cmd", "").split(" ")
        if command == [""]:
            raise InvalidArgument("say which command: cmd=…")
        ended = await self._client.runtime.exec_sync(await self._container(request), command, RUN_LIMIT)
        if ended.exit_code:
            said = (ended.stdout + ended.stderr).decode(errors="replace")
            raise CommandFailed(f"command '{' '.join(command)}' exited with {ended.exit_code}: {said}")
        return web.Response(body=ended.stdout + ended.stderr, content_type="text/plain")

    async def _relay(
        self, request: web.Request, method: str, asked: api.ExecRequest | api.AttachRequest | api.PortForwardRequest
    ) -> web.StreamResponse:
        return await relay(request, (await self._client.runtime.call(method, asked)).url)

    async def _pod(self, request: web.Request) -> PodView:
        named = request.match_info
        return await self._pods.pod(named["namespace"], named["pod"], named.get("uid", ""))

    async def _container(self, request: web.Request) -> str:
        return self._pods.running_container(await self._pod(request), request.match_info["container"]).id


def _streams(request: web.Request) -> dict[str, bool]:
    """Which streams there are, by the names that the CRI has for them. With a terminal, standard error is part of
    standard output."""
    found = {name: flag(request.query, asked) for name, asked in _NAMES.items()}
    if found["tty"]:
        found["stderr"] = False
    if not (found["stdin"] or found["stdout"] or found["stderr"]):
        raise InvalidArgument("you must specify at least 1 of stdin, stdout, stderr: input=1, output=1 or error=1")
    return found


_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise InvalidArgument(f"port: {text!r} is no port: 1 to 65535 are")
    return int(text)
