"""Exec, Attach, PortForward: URLs of the streaming server."""

from __future__ import annotations

from functools import partial

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.lifecycle import containers
from podyard.runtime import attach, exec_stream, port_forward
from podyard.runtime.calls.base import Calls
from podyard.streaming import Forward, RemoteCommand


class StreamingCalls(Calls):
    """What is asked for is checked here and again when the URL is used: the container may have ended meanwhile."""

    async def Exec(self, request: api.ExecRequest) -> api.ExecResponse:
        """A URL that runs a command in a container."""
        entry = self._store.container(request.container_id)
        containers.check_is_running(entry.record)
        if not request.cmd:
            raise InvalidArgument("cmd is empty: name the program to run")
        _check_streams(request)
        run = partial(exec_stream.run, self._context, entry.record.id, list(request.cmd), request.tty)
        endpoint = RemoteCommand(
            what=f"exec in container {entry.record.id[:12]}",
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
            run=run,
        )
        return api.ExecResponse(url=self._context.streaming.url("exec", endpoint))

    async def Attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """A URL that attaches to a container's own input and output."""
        entry = self._store.container(request.container_id)
        attach.check_may_attach(entry)
        _check_streams(request)
        if request.tty != entry.config.tty:
            raise InvalidArgument(
                f"tty is {request.tty}, but container {entry.record.id[:12]} was made with tty {entry.config.tty}: "
                "both must be the same"
            )
        endpoint = RemoteCommand(
            what=f"attach to container {entry.record.id[:12]}",
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            tty=request.tty,
            run=partial(attach.run, self._context, entry.record.id),
        )
        return api.AttachResponse(url=self._context.streaming.url("attach", endpoint))

    async def PortForward(self, request: api.PortForwardRequest) -> api.PortForwardResponse:
        """A URL that forwards connections to ports of a pod."""
        entry = self._store.sandbox(request.pod_sandbox_id)
        port_forward.check_is_ready(entry)
        for port in request.port:
            if not 0 < port < 65536:
                raise InvalidArgument(f"port {port} is not between 1 and 65535")
        endpoint = Forward(
            what=f"port-forward to pod sandbox {entry.record.id[:12]}",
            ports=tuple(request.port),
            dial=partial(port_forward.dial, self._context, entry.record.id),
            ended=entry.ended.wait,
        )
        return api.PortForwardResponse(url=self._context.streaming.url("portforward", endpoint))


def _check_streams(request: api.ExecRequest | api.AttachRequest) -> None:
    """Raise InvalidArgument for streams that cannot be together, or none at all."""
    if request.tty and request.stderr:
        raise InvalidArgument("tty and stderr exclude each other: a terminal has one output")
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidArgument("at least one of stdin, stdout and stderr must be set")
