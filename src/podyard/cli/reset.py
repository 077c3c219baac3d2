"""``podyard reset``."""

from __future__ import annotations

from typing import Any

import click

from podyard.cli.serve import configuration, daemon_options
from podyard.errors import InvalidArgument


@click.command()
@click.option("--yes", is_flag=True, help="Really remove everything.")
@daemon_options
def command(yes: bool, **options: Any) -> None:
    """Remove all that a stopped daemon has made.

    That is every Pod, image and network, and its directories. The options must be those of the daemon.
    """
    config = configuration(**options)
    if not yes:
        raise InvalidArgument(f"this removes all Pods and images, {config.root} and {config.run}: add --yes to do so")
    from podyard import daemon

    daemon.reset(config)
    print(f"removed {config.root} and {config.run}")
