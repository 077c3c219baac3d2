"""``podyard ps``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output, view
from podyard.cli.endpoint import with_client
from podyard.cli.lookups import exited_statuses
from podyard.cli.resolve import Inventory
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import age

if TYPE_CHECKING:
    from podyard.client import Client

COLUMNS = ("CONTAINER", "POD", "NAMESPACE", "STATUS", "ATTEMPT", "AGE", "IMAGE", "CONTAINER ID")


@click.command()
@click.option("--all", "-a", "everything", is_flag=True, help="Also containers that do not run.")
@click.option("--pod", "-p", "pod_name", metavar="POD", help="Only containers of this Pod.")
@output_options
@with_client
async def command(client: Client, settings: Settings, everything: bool, pod_name: str | None) -> None:
    """List containers that run.

    JSON and YAML: a list of the CRI's Container messages.
    """
    inventory = await Inventory.load(client)
    members = None if pod_name is None else {one.id for one in inventory.pod(pod_name).sandboxes}
    refs = [
        inventory.ref(container)
        for container in inventory.containers
        if (everything or container.state == view.RUNNING) and (members is None or container.pod_sandbox_id in members)
    ]
    rows = []
    if settings.for_people:
        ended = await exited_statuses(client, [ref.container for ref in refs])
        tags = await _tags(client, [view.image_name(ref.container) for ref in refs])
        rows = [
            (
                ref.container.metadata.name,
                ref.pod_name,
                ref.namespace,
                view.container_state(ref.container, ended),
                str(ref.container.metadata.attempt),
                age(ref.container.created_at),
                tags.get(view.image_name(ref.container), view.image_name(ref.container)),
                output.short_id(ref.container.id, settings),
            )
            for ref in refs
        ]
    listing = output.Listing(
        columns=COLUMNS,
        rows=rows,
        ids=[ref.container.id for ref in refs],
        names=[ref.full_name for ref in refs],
        data=lambda: [output.as_data(ref.container) for ref in refs],
    )
    output.show(listing, settings)


async def _tags(client: Client, names: list[str]) -> dict[str, str]:
    """A tag for each image that a runtime names by its id: older ones forget how it was asked for."""
    if not any(name.startswith("sha256:") for name in names):
        return {}
    return {image.id: image.repo_tags[0] for image in await client.images.list_images() if image.repo_tags}
