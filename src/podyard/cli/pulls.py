"""``podyard pulls``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import age, size

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import admin


@click.command()
@output_options
@with_client
async def command(client: Client, settings: Settings) -> None:
    """List the pulls that podyard's daemon is doing, whoever asked for them.

    "podyard pull IMAGE" joins one that is going on and shows it. JSON and YAML: a list of Pull messages.
    """
    pulls = await client.admin.list_pulls()
    listing = output.Listing(
        columns=("IMAGE", "FOR", "DOING", "LAYERS", "FETCHED", "OF"),
        rows=[_row(pull) for pull in pulls],
        ids=[pull.reference for pull in pulls],
        names=[pull.reference for pull in pulls],
        data=lambda: [output.as_data(pull) for pull in pulls],
    )
    output.show(listing, settings)


def _row(pull: admin.Pull) -> tuple[str, ...]:
    ready = sum(layer.state in {"done", "shared"} for layer in pull.layers)
    wanted = [layer for layer in pull.layers if layer.state != "shared"]
    layers = f"{ready}/{len(pull.layers)}" if pull.layers else ""
    done, total = sum(layer.done for layer in wanted), sum(layer.total for layer in wanted)
    return (pull.reference, age(pull.started_at), pull.stage, layers, size(done), size(total) if pull.layers else "")
