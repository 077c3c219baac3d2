"""``podyard pull``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.several import each
from podyard.cli.transfer import is_pulled, pull_showing

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@output_options
@with_client
async def command(client: Client, settings: Settings, images: tuple[str, ...]) -> None:
    """Pull images, showing each layer's progress.

    -q prints nothing but the images' ids. Ctrl-C ends the command; podyard's daemon goes on pulling.
    """

    async def pull(image: str) -> None:
        try:
            image_id = await (client.images.pull_image(image) if settings.quiet else pull_showing(client, image))
        except asyncio.CancelledError:
            if await is_pulled(client, image):
                print(f'interrupted: podyard goes on pulling {image}; "podyard pulls" shows it', file=sys.stderr)
            raise
        if settings.quiet:
            print(image_id)

    await each(images, pull)
