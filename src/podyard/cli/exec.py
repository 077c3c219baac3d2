"""``podyard exec``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from podyard.cli.converse import check_terminal, converse, session_options
from podyard.cli.endpoint import with_client_only
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings
from podyard.cli.terminal import parse_keys
from podyard.errors import InvalidArgument

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.client.streams import Transport


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("name", metavar="CONTAINER|POD")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
@click.option("--container", "-c", metavar="NAME", help="The container, where a Pod has several.")
@click.option("--timeout", type=click.IntRange(min=1), metavar="SECONDS", help="Kill the command after this time.")
@session_options
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
    detach_keys: str,
    transport: Transport,
) -> int:
    """Run a command in a container, and exit with its exit code.

    With -i it reads this standard input, with -t it has a terminal: -it for a shell. Ctrl-C goes to the command with
    -it and ends it otherwise; leaving by the detach keys hangs up, after which podyard kills the command.

    With --timeout it has no standard input, and what it prints comes when it has ended, up to 16 MiB in all.
    """
    wanted = list(arguments[1:] if arguments[:1] == ("--",) else arguments)
    if not wanted:
        raise InvalidArgument(f"no command to run: podyard exec {name} -- COMMAND")
    if timeout is not None and (stdin or tty):
        raise InvalidArgument("--timeout is for commands without -i and -t")
    check_terminal(stdin=stdin, tty=tty)
    keys = parse_keys(detach_keys)
    found = (await Inventory.load(client)).one_container(name, container)
    if timeout is not None:
        return await _run_bounded(client, found.container.id, wanted, timeout)
    async with client.runtime.exec(found.container.id, wanted, stdin=stdin, tty=tty, transport=transport) as session:
        left = await converse(session, stdin=stdin, tty=tty, keys=keys)
        if left is None:
            return await session.wait()
    if left == 0:
        print("\ndetached: the session with the command has ended", file=sys.stderr)
    return left


async def _run_bounded(client: Client, container_id: str, wanted: list[str], timeout: int) -> int:
    answer = await client.runtime.exec_sync(container_id, wanted, timeout)
    for stream, content in ((sys.stdout, answer.stdout), (sys.stderr, answer.stderr)):
        stream.flush()
        stream.buffer.write(content)
        stream.buffer.flush()
    return answer.exit_code
