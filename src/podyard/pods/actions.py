"""What probes and hooks do: run a command in a container, ask a web server or a gRPC server, connect, sleep."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import h11

from podyard import __version__
from podyard.client import Client, health_check
from podyard.errors import DeadlineExceeded
from podyard.manifest.model import (
    Action,
    Container,
    ExecAction,
    GrpcAction,
    HttpGetAction,
    SleepAction,
    TcpSocketAction,
)
from podyard.manifest.translate import port_number

_HEAD_LIMIT = 64 << 10
_SHOWN = 200
"""Characters of a command's output that an explanation quotes."""


class Actions:
    """Carries out actions on the containers of one Pod, whose addresses are ``ips``."""

    def __init__(self, client: Client, ips: Sequence[str]) -> None:
        self._client = client
        self._host = ips[0] if ips else "127.0.0.1"

    async def perform(self, action: Action, container_id: str, container: Container | None, timeout: int) -> str:
        """Why an action failed; "" when it succeeded.

        ``container``: for ports that go by a name. ``timeout``: seconds. Raises what the endpoint answers when a
        command cannot be run at all: that says nothing of the container.
        """
        try:
            if isinstance(action, ExecAction):
                # The endpoint kills the command then; giving up here at the same instant would leave it running.
                return await self._exec(action, container_id, timeout)
            if isinstance(action, GrpcAction):
                return await health_check(self._host, action.port, action.service, timeout)
            async with asyncio.timeout(timeout):
                match action:
                    case SleepAction():
                        await asyncio.sleep(action.seconds)
                        return ""
                    case HttpGetAction():
                        return await self._http(action, _port(action.port, container))
                    case TcpSocketAction():
                        return await self._tcp(action, _port(action.port, container))
        except (TimeoutError, DeadlineExceeded):
            return f"no answer within {timeout} s"

    async def _exec(self, action: ExecAction, container_id: str, timeout: int) -> str:
        result = await self._client.runtime.exec_sync(container_id, action.command, timeout)
        if result.exit_code == 0:
            return ""
        output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
        return f"exit code {result.exit_code}" + (f": {output[:_SHOWN]}" if output else "")

    async def _tcp(self, action: TcpSocketAction, port: int) -> str:
        try:
            async with _connection(action.host or self._host, port, None):
                return ""
        except OSError as error:
            return f"cannot connect to port {port}: {error}"

    async def _http(self, action: HttpGetAction, port: int) -> str:
        """A status from 200 to 399 is a success; redirects are not followed, certificates not checked."""
        host = action.host or self._host
        try:
            async with _connection(host, port, _context() if action.scheme == "HTTPS" else None) as (reader, writer):
                status = await _status(reader, writer, _request(action, host, port))
        except (OSError, h11.RemoteProtocolError) as error:
            return f"port {port}: {error or type(error).__name__}"
        return "" if 200 <= status < 400 else f"port {port} answered {action.path} with HTTP status {status}"


def _port(port: int | str, container: Container | None) -> int:
    if isinstance(port, int):
        return port
    assert container is not None
    return port_number(container, port)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(action: HttpGetAction, host: str, port: int) -> h11.Request:
    given = [(header.name, header.value) for header in action.http_headers]
    names = {name.lower() for name, _ in given}
    address = f"[{host}]" if ":" in host else host
    usual = [
        ("Host", f"{address}:{port}"),
        ("User-Agent", f"podyard-probe/{__version__}"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ]
    headers = [(name, value) for name, value in usual if name.lower() not in names] + given
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    return h11.Request(method="GET", target=path, headers=headers)


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request) -> int:
    """The status that a server answers; what follows the head is not read."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)
    writer.write(connection.send(request) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_HEAD_LIMIT))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the connection was closed before an answer")


@asynccontextmanager
async def _connection(
    host: str, port: int, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
