"""``podyard logs``."""

from __future__ import annotations

import heapq
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import pod_engine, with_client
from podyard.cli.loglines import Printer
from podyard.cli.resolve import ContainerRef, Inventory
from podyard.cli.settings import Settings
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.pods import ContainerView, PodEngine, PodView

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.argument("name", metavar="POD|CONTAINER")
@click.option("--container", "-c", "chosen", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the containers have ended.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each container.")
@click.option("--since", metavar="TIME", help="Only lines since then: 90s, 10m, 2h, 1d ago, or an RFC 3339 time.")
@click.option("--timestamps", "-t", is_flag=True, help="Show when each line was written.")
@click.option("--previous", "-p", is_flag=True, help="The attempt before the last one.")
@click.option("--prefix/--no-prefix", default=None, help="Show whose each line is (default: where there are several).")
@with_client
async def command(
    client: Client,
    settings: Settings,
    *,
    name: str,
    chosen: tuple[str, ...],
    follow: bool,
    tail: int | None,
    since: str | None,
    timestamps: bool,
    previous: bool,
    prefix: bool | None,
) -> None:
    """Print the logs of a Pod or a container.

    What it wrote to standard output and standard error comes together. The log files are read on this host. Lines of
    several containers are put in the order of their times; those that come while they are followed, in the order in
    which they arrive.
    """
    if follow and previous:
        raise InvalidArgument("--previous is about a container that has ended: there is nothing to follow")
    begin = None if since is None else since_time(since, time.time_ns())
    engine = pod_engine(client, settings)
    pod, views = await _views(engine, await Inventory.load(client), name, chosen)
    names = [view.name for view in views]
    prefixed = len(views) > 1 if prefix is None else prefix
    async with Printer(names, prefixed=prefixed, timestamps=timestamps) as printer:
        if follow and all(view in pod.containers for view in views):
            async for line in engine.logs(pod, names, following=True, tail=tail, since=begin):
                await printer.line(line, line.source)
            return
        from podyard.pods.logs import read_lines

        logs = [
            read_lines(_before(pod, view) if previous else _path(pod, view), source=view.name, tail=tail, since=begin)
            for view in views
        ]
        for line in heapq.merge(*logs, key=lambda line: line.nanoseconds):
            await printer.line(line, line.source)


def since_time(text: str, now: int) -> int:
    """Nanoseconds since 1970 of "10m" (ago) or of an RFC 3339 time. Raises InvalidArgument."""
    from podyard.pods.loglines import parse_time

    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return now - int(ago[1]) * UNITS[ago[2]] * 1_000_000_000
    if at := parse_time(text):
        return at
    raise InvalidArgument(f"--since {text!r}: write how long ago (90s, 10m, 2h, 1d) or a time (2026-01-02T03:04:05Z)")


async def _views(
    engine: PodEngine, inventory: Inventory, name: str, chosen: tuple[str, ...]
) -> tuple[PodView, list[ContainerView]]:
    """The Pod and those of its containers whose logs are asked for."""
    found = inventory.any(name)
    sandbox = found.sandbox
    if sandbox is None:
        raise NotFound(f"container {name!r} has no Pod any more")
    pods = await engine.find(sandbox.metadata.name, sandbox.metadata.namespace)
    pod = next((pod for pod in pods if sandbox.id in pod.sandboxes), None)
    if pod is None:
        raise NotFound(f"the Pod of {name!r} was removed just now")
    if isinstance(found, ContainerRef):
        if chosen:
            raise InvalidArgument(f"{name!r} is the container {found.full_name}: leave --container out")
        return pod, [view for view in (*pod.containers, *pod.earlier) if view.id == found.container.id]
    if not pod.containers:
        raise NotFound(f"Pod {pod.full_name} has no container")
    names = [view.name for view in pod.containers]
    unknown = [one for one in chosen if one not in names]
    if unknown:
        raise NotFound(f"Pod {pod.full_name} has no container {', '.join(unknown)}; it has {', '.join(names)}")
    return pod, [view for view in pod.containers if not chosen or view.name in chosen]


def _path(pod: PodView, view: ContainerView) -> Path:
    if view.log_path is None:
        raise FailedPrecondition(f"container {pod.full_name}/{view.name} was made without a log")
    return view.log_path


def _before(pod: PodView, view: ContainerView) -> Path:
    """The log of the attempt before: of its container, or what the kubelet's scheme calls it once that is gone."""
    from podyard.pods.logs import previous

    earlier = next((one for one in pod.earlier if one.name == view.name and one.restarts < view.restarts), None)
    return _path(pod, earlier) if earlier is not None else previous(_path(pod, view))
