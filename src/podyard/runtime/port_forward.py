"""PortForward: connections to the ports of a pod, from inside its network namespace."""

from __future__ import annotations

import asyncio
import os
import socket

from podyard.cri import api
from podyard.errors import FailedPrecondition, Unavailable
from podyard.linux import netns
from podyard.runtime.context import Context
from podyard.runtime.store import SandboxEntry

DIAL_LIMIT = 30.0
"""Seconds for a connection to a port of the same host; a full accept queue makes it wait."""

LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def check_is_ready(entry: SandboxEntry) -> None:
    """Raise FailedPrecondition unless the sandbox has its network."""
    if not entry.record.ready:
        raise FailedPrecondition(f"pod sandbox {entry.record.id[:12]} is not ready: it has no ports any more")


async def dial(context: Context, sandbox_id: str, port: int) -> socket.socket:
    """A connection to a port of the pod's localhost, IPv4 or else IPv6.

    Raises Unavailable, with the kernel's reason for each, when nobody answers; NotFound or FailedPrecondition when the
    sandbox has gone.
    """
    entry = context.store.sandbox(sandbox_id)
    check_is_ready(entry)
    reasons = []
    for family, address in LOCALHOST:
        connection = None
        try:
            connection = await _socket(context, entry, family)
            async with asyncio.timeout(DIAL_LIMIT):
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except (OSError, TimeoutError) as error:
            reasons.append(f"{address}: {os.strerror(error.errno) if error.errno else 'no answer'}")
            if connection is not None:
                connection.close()
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        else:
            return connection
    raise Unavailable(f"cannot connect to port {port} of pod sandbox {sandbox_id[:12]}: {', '.join(reasons)}")


async def _socket(context: Context, entry: SandboxEntry, family: socket.AddressFamily) -> socket.socket:
    """A socket of the pod's network namespace: it stays there, whoever uses it. Raises OSError."""

    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    if entry.config.linux.security_context.namespace_options.network == api.NODE:
        return make()
    pin = context.paths.pins(entry.record.id) / "network"
    found = await asyncio.to_thread(netns.in_each, {"pod": pin}, make)
    if "pod" not in found:
        raise FailedPrecondition(f"the network namespace of pod sandbox {entry.record.id[:12]} has gone")
    return found["pod"]
