"""``podyard stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import pod_engine, with_client
from podyard.cli.resolve import ContainerRef, Inventory, PodRef
from podyard.cli.settings import Settings, output_options
from podyard.cli.several import each
from podyard.cli.steps import steps

if TYPE_CHECKING:
    from podyard.client import Client

CONTAINER_GRACE = 30
"""Seconds that a container gets when nothing else is said: the default of Kubernetes."""


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--grace", "-t", type=click.IntRange(min=0), metavar="SECONDS", help="Time to end before the kill.")
@output_options
@with_client
async def command(client: Client, settings: Settings, names: tuple[str, ...], grace: int | None) -> None:
    """Stop Pods or single containers.

    They can be inspected until "podyard rm". A Pod gets its own terminationGracePeriodSeconds, a container 30 seconds,
    unless --grace says otherwise.
    """
    inventory = await Inventory.load(client)
    engine = pod_engine(client, settings)

    async def stop(found: PodRef | ContainerRef) -> None:
        if isinstance(found, PodRef):
            with steps(quiet=settings.quiet) as display:
                await engine.stop(found.name, found.namespace, grace, on_event=display.event)
            print(found.sandbox.id if settings.quiet else f"stopped Pod {found.full_name}")
        else:
            await client.runtime.stop_container(found.container.id, CONTAINER_GRACE if grace is None else grace)
            print(found.container.id if settings.quiet else f"stopped container {found.full_name}")

    await each([inventory.any(name) for name in names], stop)
