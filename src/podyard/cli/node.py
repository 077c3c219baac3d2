"""``podyard node``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import click

from podyard.cli.settings import current
from podyard.errors import InvalidArgument, Unimplemented

PATH = click.Path(path_type=Path)
VERSIONS = "v1,v1alpha2"


@click.command()
@click.option("--pod-manifest-path", "manifests", type=PATH, metavar="DIR", help="Directory of Pod manifests.")
@click.option("--container-runtime-endpoint", "runtime", metavar="ENDPOINT", help="The runtime's socket.")
@click.option("--image-service-endpoint", "images", metavar="ENDPOINT", help="The image service's, if another.")
@click.option(
    "--versions", default=VERSIONS, show_default=True, metavar="LIST", help="CRI versions that may be spoken."
)
@click.option("--api-socket", type=PATH, metavar="PATH", help="The node's own API; by default beside the pods' files.")
@click.option("--kubeconfig", type=PATH, metavar="FILE", help="Not built yet: Pods come from the directory alone.")
@click.option("--log-level", type=click.Choice(("debug", "info", "warning", "error")), default="info")
def command(
    *,
    manifests: Path | None,
    runtime: str | None,
    images: str | None,
    versions: str,
    api_socket: Path | None,
    kubeconfig: Path | None,
    log_level: str,
) -> None:
    """Keep the Pods of a directory running, on any CRI runtime, in the foreground.

    Every file in DIR whose name does not begin with a dot is a manifest of v1 Pods. Files may be added, changed and
    removed at any time: their Pods are started, replaced and removed. Containers are probed and started again as
    their Pods say. SIGTERM or Ctrl-C ends the agent; the Pods go on, and the next agent finds them.

    The versions of the CRI are chosen at the start. When none can be spoken, nothing is started and the exit code
    is 8. The API (GET /pods, /healthz, /readyz) is for root alone.
    """
    if kubeconfig is not None:
        raise Unimplemented("--kubeconfig: an API server cannot be followed yet; use --pod-manifest-path")
    if manifests is None:
        raise InvalidArgument("say where the manifests are: --pod-manifest-path DIR")
    settings = current()
    for chatty in ("asyncio", "grpc"):
        logging.getLogger(chatty).setLevel(logging.INFO)
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from podyard import node
    from podyard.pods.engine import LOG_ROOT, ROOT

    pod_root = settings.pod_root or ROOT
    # An image endpoint counts only with its own runtime's: a setting elsewhere must not join two runtimes.
    image_endpoint = images or (settings.image_endpoint if runtime is None else None)
    asyncio.run(
        node.run(
            manifests,
            runtime_endpoint=runtime or settings.runtime_endpoint,
            image_endpoint=image_endpoint,
            versions=[version.strip() for version in versions.split(",")],
            pod_root=pod_root,
            log_root=settings.log_root or LOG_ROOT,
            api_socket=api_socket or pod_root.parent / "node.sock",
        )
    )
