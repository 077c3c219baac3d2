"""``podyard events``."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api

# The protocol's ContainerEventType: the help imports this module and must not import protobuf.
KINDS = ("created", "started", "stopped", "deleted")


@click.command()
@click.option("--type", "-t", "kinds", type=click.Choice(KINDS), multiple=True, help="Only events of this type.")
@output_options
@with_client
async def command(client: Client, settings: Settings, kinds: tuple[str, ...]) -> None:
    """Show what happens to Pods and containers, as it happens, until Ctrl-C.

    JSON and YAML: the CRI's ContainerEventResponse messages, JSON with one on each line, YAML with one a document.
    """
    async with aclosing(client.runtime.get_container_events()) as events:
        async for event in events:
            kind = KINDS[event.container_event_type] if event.container_event_type < len(KINDS) else "unknown"
            if kinds and kind not in kinds:
                continue
            _show(event, kind, settings)
            sys.stdout.flush()


def _show(event: api.ContainerEventResponse, kind: str, settings: Settings) -> None:
    if settings.quiet:
        print(event.container_id)
    elif settings.output == "json":
        print(json.dumps(output.as_data(event), ensure_ascii=False))
    elif settings.output == "yaml":
        print("---")
        output.show_data(output.as_data(event), "yaml")
    elif settings.output == "name":
        print(_name(event))
    else:
        # Seconds are too coarse for what happens at once; nanoseconds are more than anybody reads.
        at = datetime.fromtimestamp(event.created_at / 1e9).astimezone().isoformat(timespec="milliseconds")
        what = "Pod" if event.container_id == event.pod_sandbox_status.id else "container"
        words = (at, kind.ljust(7), what.ljust(9), output.short_id(event.container_id, settings), _name(event))
        print("  ".join((*words, *_end(event, kind))))


def _name(event: api.ContainerEventResponse) -> str:
    """namespace/pod or namespace/pod/container; a container that is gone already has only its Pod's name left."""
    pod = event.pod_sandbox_status.metadata
    names = [status.metadata.name for status in event.containers_statuses if status.id == event.container_id]
    return output.printable("/".join((pod.namespace, pod.name, *names)))


def _end(event: api.ContainerEventResponse, kind: str) -> list[str]:
    """How a container ended."""
    if kind != "stopped":
        return []
    found = [status for status in event.containers_statuses if status.id == event.container_id]
    return [output.printable(f"{status.reason or 'ended'} ({status.exit_code})") for status in found]
