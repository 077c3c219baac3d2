"""``podyard load``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podyard.cli import output, spool
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@output_options
@with_client
async def command(client: Client, settings: Settings, path: Path) -> None:
    """Load images from an OCI layout or a docker archive.

    An OCI layout is a directory or a tar file; "-" is a tar file from standard input. podyard's daemon reads PATH
    itself; other runtimes have no such call.
    JSON and YAML: a list of {id, repo_tags, size}.
    """
    async with spool.received() if path == spool.STANDARD else nullcontext(path) as archive:
        images = await client.admin.load_images(str(archive.absolute()))
    listing = output.Listing(
        columns=("IMAGE", "IMAGE ID", "SIZE"),
        rows=[(", ".join(image.repo_tags), output.short_id(image.id, settings), size(image.size)) for image in images],
        ids=[image.id for image in images],
        names=[name for image in images for name in (image.repo_tags or [image.id])],
        data=lambda: [output.as_data(image) for image in images],
    )
    output.show(listing, settings)
