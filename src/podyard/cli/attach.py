"""``podyard attach``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from podyard.cli import view
from podyard.cli.converse import check_terminal, converse, session_options
from podyard.cli.endpoint import with_client
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings
from podyard.cli.terminal import parse_keys
from podyard.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.client.streams import Transport

PATIENCE = 5.0
"""Seconds for a container's end to be recorded after that of its output; one that goes on may have closed it."""
INTERVAL = 0.05


@click.command()
@click.argument("name", metavar="CONTAINER|POD")
@click.option("--container", "-c", metavar="NAME", help="The container, where a Pod has several.")
@session_options
@with_client
async def command(
    client: Client,
    settings: Settings,
    *,
    name: str,
    container: str | None,
    stdin: bool,
    tty: bool,
    detach_keys: str,
    transport: Transport,
) -> int:
    """Watch what a container's process prints from now on, and type into it with -i.

    -t is for containers that were made with a terminal. The exit code is the container's when it ends meanwhile.
    Leaving, by the detach keys or Ctrl-C, lets the container go on; with -it Ctrl-C goes to its process.
    """
    check_terminal(stdin=stdin, tty=tty)
    keys = parse_keys(detach_keys)
    found = (await Inventory.load(client)).one_container(name, container)
    if found.container.state != view.RUNNING:
        raise FailedPrecondition(f'container {found.full_name} does not run; "podyard logs" shows what it wrote')
    async with client.runtime.attach(found.container.id, stdin=stdin, tty=tty, transport=transport) as session:
        left = await converse(session, stdin=stdin, tty=tty, keys=keys)
        if left is None:
            await session.wait()
            return await _exit_code(client, found.container.id)
    if left == 0:
        print(f"\ndetached: container {found.full_name} goes on", file=sys.stderr)
    return left


async def _exit_code(client: Client, container_id: str) -> int:
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                status = (await client.runtime.container_status(container_id)).status
                if status.state == view.EXITED:
                    return status.exit_code
                await asyncio.sleep(INTERVAL)
    except (TimeoutError, NotFound):
        return 0  # it goes on without its output, or was removed
