"""``podyard pods``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from podyard.cli import output, view
from podyard.cli.endpoint import pod_engine, with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import age

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.pods import PodView


@click.command()
@click.option("--namespace", "-n", metavar="NAME", help="Only Pods of this namespace.")
@output_options
@with_client
async def command(client: Client, settings: Settings, namespace: str | None) -> None:
    """List Pods, the newest first.

    JSON and YAML: a list of {name, namespace, uid, id, status, ready, ip, ips, created_at, runtime_handler, labels,
    annotations, containers}; a container is {name, id, kind, image, state, exit_code, reason, message, restarts,
    created_at, started_at, finished_at, log_path}. Times are nanoseconds since 1970, 0 where not reached.
    """
    pods = await pod_engine(client, settings).list()
    wanted = [pod for pod in pods if namespace in {None, pod.namespace}]
    show_pods(sorted(wanted, key=lambda pod: pod.created_at, reverse=True), settings)


def show_pods(pods: Sequence[PodView], settings: Settings) -> None:
    """Print Pods; "podyard run" ends with this too."""
    wide = settings.output == "wide"
    rows = [
        (
            pod.name,
            pod.namespace,
            view.ready(pod),
            view.pod_status(pod),
            str(view.restarts(pod.containers)),
            age(pod.created_at),
            ",".join(pod.ips if wide else pod.ips[:1]),
            output.short_id(pod.sandbox_id, settings),
            *((pod.handler or "(default)", pod.uid) if wide else ()),
        )
        for pod in pods
    ]
    listing = output.Listing(
        columns=(
            "NAME",
            "NAMESPACE",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "POD ID",
            *(("HANDLER", "UID") if wide else ()),
        ),
        rows=rows,
        ids=[pod.sandbox_id for pod in pods],
        names=[pod.full_name for pod in pods],
        data=lambda: [view.pod_data(pod) for pod in pods],
    )
    output.show(listing, settings)
