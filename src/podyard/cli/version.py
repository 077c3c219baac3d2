"""``podyard version``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard import __version__
from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options

if TYPE_CHECKING:
    from podyard.client import Client


@click.command()
@output_options
@with_client
async def command(client: Client, settings: Settings) -> None:
    """Show the versions of podyard and the runtime.

    JSON and YAML: {client: {version}, runtime: the answer of Version, image_service: {api_version}}. To ask no runtime,
    say "podyard --version".
    """
    answer = await client.runtime.version()
    listing = output.Listing(
        columns=("PART", "NAME", "VERSION", "CRI"),
        rows=[
            ("client", "podyard", __version__, ""),
            ("runtime", answer.runtime_name, answer.runtime_version, client.runtime_version),
            ("images", answer.runtime_name, "", client.image_version),
        ],
        ids=[answer.runtime_version],
        names=[answer.runtime_name],
        data=lambda: {
            "client": {"version": __version__},
            "runtime": output.as_data(answer),
            "image_service": {"api_version": client.image_version},
        },
    )
    output.show(listing, settings)
