"""``podyard inspect``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.lookups import image_status
from podyard.cli.resolve import ContainerRef, Inventory, PodRef
from podyard.cli.settings import Settings, output_options
from podyard.errors import NotFound

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--type", "kind", type=click.Choice(("pod", "container", "image")), help="What the names are names of.")
@output_options
@with_client
async def command(client: Client, settings: Settings, names: tuple[str, ...], kind: str | None) -> None:
    """Show all that a runtime tells of something.

    As JSON, or YAML with -o yaml. One name gives {kind: "Pod"|"Container"|"Image", status, info}: the CRI's status
    message and its verbose part decoded; a Pod has "containers" too, the status message of each. Several names give a
    list of these.
    """
    inventory = await Inventory.load(client)
    items = [await _inspected(client, inventory, name, kind) for name in names]
    if settings.quiet or settings.output == "name":
        for item in items:
            print(item["status"]["id"])
        return
    output.show_data(items[0] if len(items) == 1 else items, settings.output)


async def _inspected(client: Client, inventory: Inventory, name: str, kind: str | None) -> dict[str, Any]:
    if kind == "image":
        return await _image(client, name)
    if kind == "pod":
        return await _pod(client, inventory, inventory.pod(name))
    if kind == "container":
        return await _container(client, inventory.container(name))
    try:
        found = inventory.any(name)
    except NotFound:
        try:
            return await _image(client, name)
        except NotFound:
            raise NotFound(
                f'no Pod, container or image goes by {name!r}; "podyard pods", "podyard ps -a" and "podyard images" '
                "list them"
            ) from None
    if isinstance(found, ContainerRef):
        return await _container(client, found)
    return await _pod(client, inventory, found)


async def _pod(client: Client, inventory: Inventory, pod: PodRef) -> dict[str, Any]:
    answer = await client.runtime.pod_sandbox_status(pod.sandbox.id, verbose=True)
    containers = inventory.of_sandbox(pod.sandbox.id, latest=False)
    answers = await asyncio.gather(*(client.runtime.container_status(one.id) for one in containers))
    return {
        "kind": "Pod",
        "status": output.as_data(answer.status),
        "info": output.decoded(answer.info),
        "containers": [output.as_data(one.status) for one in answers],
    }


async def _container(client: Client, ref: ContainerRef) -> dict[str, Any]:
    answer = await client.runtime.container_status(ref.container.id, verbose=True)
    return {"kind": "Container", "status": output.as_data(answer.status), "info": output.decoded(answer.info)}


async def _image(client: Client, name: str) -> dict[str, Any]:
    answer = await image_status(client, name, verbose=True)
    return {"kind": "Image", "status": output.as_data(answer.image), "info": output.decoded(answer.info)}
