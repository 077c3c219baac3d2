"""``podyard update``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from podyard.cli.endpoint import with_client
from podyard.cli.resolve import ContainerRef, Inventory
from podyard.cli.settings import Settings, output_options
from podyard.cli.several import each
from podyard.errors import InvalidArgument

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.manifest.quantity import Quantity

UNLIMITED = -1


def _bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value is None else UNLIMITED if value == "unlimited" else _quantity(value).value


def _cores(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value is None else UNLIMITED if value == "unlimited" else _quantity(value).milli


def _quantity(text: str) -> Quantity:
    from podyard.manifest.quantity import Quantity

    try:
        quantity = Quantity.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if quantity.amount <= 0:
        raise click.BadParameter(f"{text!r} is not more than 0")
    return quantity


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.option("--cpu", callback=_cores, metavar="CORES", help="Limit: 500m, 2, or unlimited.")
@click.option("--cpu-shares", type=click.IntRange(2, 262_144), metavar="NUMBER", help="Weight against others.")
@click.option("--memory", callback=_bytes, metavar="BYTES", help="Limit: 64Mi, 1G, or unlimited.")
@click.option("--memory-swap", callback=_bytes, metavar="BYTES", help="Limit of memory and swap together.")
@click.option("--cpuset-cpus", metavar="LIST", help="Processors to run on: 0-2,7.")
@click.option("--cpuset-mems", metavar="LIST", help="Memory nodes to use: 0,1.")
@click.option("--oom-score-adj", type=click.IntRange(-1000, 1000), metavar="NUMBER", help="Who is killed first; not 0.")
@output_options
@with_client
async def command(client: Client, settings: Settings, *, names: tuple[str, ...], **wanted: Any) -> None:
    """Change the limits of containers that run or were created.

    What is not named stays as it is. A Pod's container goes by POD/CONTAINER, or by the Pod's name if it has only one.
    """
    from podyard.cri import api
    from podyard.manifest.translate.resources import CPU_PERIOD, MIN_QUOTA

    cpu = wanted.pop("cpu")
    fields = {"memory": "memory_limit_in_bytes", "memory_swap": "memory_swap_limit_in_bytes"}
    changes = {fields.get(name, name): value for name, value in wanted.items() if value is not None}
    if cpu is not None:
        changes["cpu_period"] = CPU_PERIOD
        changes["cpu_quota"] = UNLIMITED if cpu == UNLIMITED else max(cpu * CPU_PERIOD // 1000, MIN_QUOTA)
    if not changes:
        raise InvalidArgument('nothing to change: name a limit, such as --memory 128Mi (see "podyard update --help")')
    if changes.get("oom_score_adj") == 0:
        raise InvalidArgument("an oom_score_adj of 0 stands for no change in the protocol: use 1")
    inventory = await Inventory.load(client)

    async def update(found: ContainerRef) -> None:
        await client.runtime.update_container_resources(found.container.id, api.LinuxContainerResources(**changes))
        print(found.container.id if settings.quiet else f"updated container {found.full_name}")

    await each([inventory.one_container(name) for name in names], update)
