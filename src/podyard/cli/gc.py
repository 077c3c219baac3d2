"""``podyard gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@click.option("--dry-run", is_flag=True, help="Remove nothing; show all that is there, with why it stays or would go.")
@click.option("--images", is_flag=True, help="Images too that no container uses and that are not pinned.")
@output_options
@with_client
async def command(client: Client, settings: Settings, dry_run: bool, images: bool) -> None:
    """Remove what no image is made of: layers and parts of layers that failed pulls have left, and other remains.

    podyard's daemon does it by itself, later. JSON and YAML: a list of {kind, name, size, held, why}.
    """
    items = await client.admin.collect_garbage(dry_run=dry_run, images=images)
    going = [item for item in items if not item.held]
    listing = output.Listing(
        columns=("KIND", "NAME", "SIZE", *(("STAYS",) if dry_run else ()), "WHY"),
        rows=[
            (
                item.kind,
                output.short_id(item.name, settings) if item.name.startswith("sha256:") else item.name,
                size(item.size),
                *((("yes" if item.held else "no"),) if dry_run else ()),
                item.why,
            )
            for item in items
        ],
        ids=[item.name for item in going],
        names=[item.name for item in going],
        data=lambda: [output.as_data(item) for item in items],
    )
    output.show(listing, settings)
    if settings.output in {"table", "wide"} and not settings.quiet:
        verb = "would go" if dry_run else "went"
        print(f"{len(going)} {verb}: {size(sum(item.size for item in going))}")
