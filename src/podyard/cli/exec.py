"""``podyard exec``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import with_client_only
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings
from podyard.errors import InvalidArgument, Unimplemented

if TYPE_CHECKING:
    from podyard.client import Client


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("name", metavar="CONTAINER|POD")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
@click.option("--container", "-c", metavar="NAME", help="The container, where a Pod has several.")
@click.option("--timeout", type=click.IntRange(min=1), metavar="SECONDS", help="Kill the command after this time.")
@click.option("--stdin", "-i", is_flag=True, help="Not built yet.")
@click.option("--tty", "-t", is_flag=True, help="Not built yet.")
@with_client_only
async def command(
    client: Client,
    settings: Settings,
    *,
    name: str,
    arguments: tuple[str, ...],
    container: str | None,
    timeout: int | None,
    stdin: bool,
    tty: bool,
) -> int:
    """Run a command in a container, and exit with its exit code.

    What it prints comes when it has ended, up to 16 MiB of each stream; it has no standard input.
    """
    if stdin or tty:
        raise Unimplemented("exec with -i or -t is not built yet: a command runs without standard input and terminal")
    wanted = list(arguments[1:] if arguments[:1] == ("--",) else arguments)
    if not wanted:
        raise InvalidArgument(f"no command to run: podyard exec {name} -- COMMAND")
    found = (await Inventory.load(client)).one_container(name, container)
    answer = await client.runtime.exec_sync(found.container.id, wanted, timeout or 0)
    for stream, content in ((sys.stdout, answer.stdout), (sys.stderr, answer.stderr)):
        stream.flush()
        stream.buffer.write(content)
        stream.buffer.flush()
    return answer.exit_code
