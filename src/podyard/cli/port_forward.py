"""``podyard port-forward``."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from podyard.cli.converse import transport_option
from podyard.cli.endpoint import with_client
from podyard.cli.output import complain
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError, Unavailable, Unimplemented

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.client.streams import Connection, PortForward, Transport

LOCALHOST = ("127.0.0.1", "::1")
CHUNK = 64 << 10
_NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Ports:
    """``local`` is 0 where any free port will do."""

    local: int
    remote: int

    @classmethod
    def parse(cls, text: str) -> Ports:
        """From "REMOTE", "LOCAL:REMOTE" or ":REMOTE". Raises InvalidArgument."""
        local, colon, remote = text.rpartition(":")
        numbers = [int(part) if part.isascii() and part.isdigit() else -1 for part in (local or "0", remote)]
        if not (0 <= numbers[0] < 65536 and 0 < numbers[1] < 65536):
            raise InvalidArgument(f"{text!r}: write REMOTE, LOCAL:REMOTE, or :REMOTE for any free port here")
        return cls(numbers[0] if colon else numbers[1], numbers[1])


@click.command("port-forward")
@click.argument("name", metavar="POD")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]REMOTE...")
@click.option(
    "--address", "addresses", multiple=True, metavar="ADDRESS", help="Listen there (default: localhost). Repeatable."
)
@transport_option
@with_client
async def command(
    client: Client,
    settings: Settings,
    *,
    name: str,
    ports: tuple[str, ...],
    addresses: tuple[str, ...],
    transport: Transport,
) -> None:
    """Listen here, and pass connections on to ports in a Pod, until Ctrl-C.

    A connection reaches what listens on the Pod's localhost. ":REMOTE" takes any free port here. A connection that
    fails is told of; the others, and later ones, are not touched by it.
    """
    wanted = [Ports.parse(text) for text in ports]
    pod = (await Inventory.load(client)).pod(name)
    from podyard.cri import api

    if pod.sandbox.state != api.SANDBOX_READY:
        raise FailedPrecondition(f"Pod {pod.full_name} does not run")
    async with client.runtime.port_forward(pod.sandbox.id, transport=transport) as forward, AsyncExitStack() as stack:
        for pair in wanted:
            for server in await _listen(pair, addresses, _carrier(forward, pair.remote)):
                # Closing waits for nothing: from Python 3.12 on a server would wait until its connections have ended.
                stack.callback(server.close)
                host, port = server.sockets[0].getsockname()[:2]
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                print(f"Forwarding from {shown} -> {pair.remote}", flush=True)
        await asyncio.Event().wait()


async def _listen(ports: Ports, addresses: Sequence[str], handler: Handler) -> list[asyncio.Server]:
    """Servers on all addresses, on one and the same port; on those of localhost's that this host has."""
    found: list[asyncio.Server] = []
    local = ports.local
    for address in addresses or ("localhost",):
        for host in LOCALHOST if address == "localhost" else (address,):
            try:
                found.append(await asyncio.start_server(handler, host, local, limit=CHUNK))
            except OSError as error:
                if host != address and error.errno in _NO_SUCH_FAMILY:
                    continue
                for server in found:
                    server.close()
                raise FailedPrecondition(f"cannot listen on port {local} of {host}: {error}") from error
            local = found[0].sockets[0].getsockname()[1]
    return found


def _carrier(forward: PortForward, port: int) -> Handler:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with await forward.connect(port) as connection:
                await _join(connection, reader, writer)
        except PodyardError as error:
            if not forward.closed:
                complain(error)
        except ConnectionError:
            pass  # whoever connected here has gone
        finally:
            writer.close()

    return carry


async def _join(connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on both ways until the pod's end has sent all, or the local one has broken off."""
    sending = asyncio.create_task(_send(reader, connection))
    receiving = asyncio.create_task(_receive(connection, writer))
    try:
        done, _ = await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        await receiving
    finally:
        sending.cancel()
        receiving.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send(reader: asyncio.StreamReader, connection: Connection) -> None:
    try:
        while data := await reader.read(CHUNK):
            await connection.write(data)
        await connection.end()
    except Unimplemented:
        return  # a WebSocket has no half-close: the pod's end goes on until it is through
    except (FailedPrecondition, Unavailable):
        return  # the pod's end takes no more; reading tells why


async def _receive(connection: Connection, writer: asyncio.StreamWriter) -> None:
    while data := await connection.read():
        writer.write(data)
        await writer.drain()
