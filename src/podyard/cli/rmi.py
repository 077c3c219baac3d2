"""``podyard rmi``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import with_client
from podyard.cli.lookups import image_status
from podyard.cli.settings import Settings, output_options
from podyard.cli.several import each
from podyard.errors import NotFound, PodyardError

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--force", "-f", is_flag=True, help="Do not mind images that are not there.")
@output_options
@with_client
async def command(client: Client, settings: Settings, images: tuple[str, ...], force: bool) -> None:
    """Remove images, by any name or id: all names of an image go with it."""

    # Before the first goes: its other names, which go with it, may be among these.
    ids: dict[str, str] = {}
    for image in images:
        with suppress(PodyardError):  # it is told when its turn has come
            ids[image] = (await image_status(client, image)).image.id

    async def remove(image: str) -> None:
        try:
            # The protocol's RemoveImage succeeds for what is not there: a misspelt name would look removed.
            image_id = ids.get(image) or (await image_status(client, image)).image.id
        except NotFound:
            if force:
                return
            raise
        await client.images.remove_image(image)
        print(image_id if settings.quiet else f"removed {image}")

    await each(images, remove)
