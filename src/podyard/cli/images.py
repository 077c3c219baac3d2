"""``podyard images``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.tree import show_layers
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api

NONE = "<none>"


@click.command()
@click.option(
    "--tree", is_flag=True, help="Show which layers the images share, and what containers use (podyard only)."
)
@output_options
@with_client
async def command(client: Client, settings: Settings, tree: bool) -> None:
    """List images, one line for each tag.

    JSON and YAML: a list of the CRI's Image messages; with --tree a list of {chain_id, size, inodes, images}.
    """
    if tree:
        show_layers(await client.admin.list_layers(), settings)
        return
    images = await client.images.list_images()
    wide = settings.output == "wide"
    rows = sorted(row for image in images for row in _rows(image, settings))
    listing = output.Listing(
        columns=("IMAGE", "TAG", "IMAGE ID", "SIZE", *(("DIGESTS",) if wide else ())),
        rows=[row if wide else row[:-1] for row in rows],
        ids=[image.id for image in images],
        names=[name for image in images for name in (image.repo_tags or image.repo_digests or [image.id])],
        data=lambda: [output.as_data(image) for image in images],
    )
    output.show(listing, settings)


def _rows(image: api.Image, settings: Settings) -> list[tuple[str, ...]]:
    names = [_split(tag) for tag in image.repo_tags]
    names = names or [(digest.partition("@")[0], NONE) for digest in image.repo_digests] or [(NONE, NONE)]
    digests = ",".join(digest.partition("@")[2] for digest in image.repo_digests)
    return [(name, tag, output.short_id(image.id, settings), size(image.size), digests) for name, tag in names]


def _split(reference: str) -> tuple[str, str]:
    """Name and tag: a colon before the last slash belongs to the registry's port."""
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, NONE)
