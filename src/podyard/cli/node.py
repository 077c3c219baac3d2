"""``podyard node``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from podyard.cli import housekeeping
from podyard.cli.settings import current
from podyard.errors import InvalidArgument

PATH = click.Path(path_type=Path)
VERSIONS = "v1,v1alpha2"


@click.command()
@click.option("--pod-manifest-path", "manifests", type=PATH, metavar="DIR", help="Directory of Pod manifests.")
@click.option("--manifest-url", "url", default="", metavar="URL", help="A manifest on an HTTP server.")
@click.option(
    "--manifest-url-header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="Sent with each request; may be given again.",
)
@click.option("--kubeconfig", type=PATH, metavar="FILE", help="An API server: be a node of its cluster.")
@click.option("--node-name", default="", metavar="NAME", help="The node's name there; by default the host's.")
@click.option("--node-labels", "labels", default="", metavar="KEY=VALUE,...", help="The node's labels there.")
@click.option(
    "--register-with-taints", "taints", default="", metavar="KEY=VALUE:EFFECT,...", help="The taints of a new node."
)
@click.option("--max-pods", type=click.IntRange(1), metavar="N", help="How many Pods the node takes; by default 110.")
@click.option("--cluster-dns", "dns", default="", metavar="IP,...", help="The cluster's name servers, for Pods.")
@click.option("--cluster-domain", "domain", default="", metavar="NAME", help="The cluster's domain.")
@click.option("--address", default="0.0.0.0", show_default=True, metavar="IP", help="Where the node's API listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=10250, show_default=True, help="Its port; 0 for any.")
@click.option("--tls-cert-file", "certificate", type=PATH, metavar="FILE", help="Its certificate; else one is made.")
@click.option("--tls-private-key-file", "key", type=PATH, metavar="FILE", help="That certificate's key.")
@click.option("--client-ca-file", "authorities", type=PATH, metavar="FILE", help="Who signs its clients' certificates.")
@click.option("--anonymous-healthz", is_flag=True, help="Let anybody ask its /healthz.")
@click.option("--container-runtime-endpoint", "runtime", metavar="ENDPOINT", help="The runtime's socket.")
@click.option("--image-service-endpoint", "images", metavar="ENDPOINT", help="The image service's, if another.")
@click.option(
    "--versions", default=VERSIONS, show_default=True, metavar="LIST", help="CRI versions that may be spoken."
)
@click.option("--api-socket", type=PATH, metavar="PATH", help="Its API for root; by default beside the pods' files.")
@housekeeping.options
@click.option("--log-level", type=click.Choice(("debug", "info", "warning", "error")), default="info")
def command(
    *,
    manifests: Path | None,
    url: str,
    headers: Sequence[str],
    kubeconfig: Path | None,
    node_name: str,
    labels: str,
    taints: str,
    max_pods: int | None,
    dns: str,
    domain: str,
    address: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    authorities: Path | None,
    anonymous_healthz: bool,
    runtime: str | None,
    images: str | None,
    versions: str,
    api_socket: Path | None,
    log_level: str,
    **tidy: Any,
) -> None:
    """Keep Pods running, on any CRI runtime, in the foreground.

    Every file in DIR whose name does not begin with a dot is a manifest of v1 Pods. Files may be added, changed and
    removed at any time: their Pods are started, replaced and removed. A URL is asked every 20 seconds. With a
    kubeconfig the host becomes a node of the cluster and runs the Pods that are bound to it, too; the node's name is
    then added to those of its own Pods. Containers are probed and started again as their Pods say. SIGTERM or Ctrl-C
    ends the agent; the Pods go on, and the next agent finds them.

    The versions of the CRI are chosen at the start. When none can be spoken, nothing is started, no node is
    registered, and the exit code is 14.

    When memory, disk or process ids run short, containers that have ended and images that nobody uses are removed, and
    then Pods are evicted, one after the other: they have failed, with the reason in their status, and are started again
    when their manifest changes. Critical Pods (priorityClassName system-node-critical) stay.

    With --shutdown-grace-period a shutdown of the machine waits until the Pods have ended, critical ones last.

    The API on a unix socket (GET /pods, /healthz, /readyz) is for root alone. A kubelet's API, for kubectl logs, exec,
    attach, port-forward, cp and top, is served over TLS where somebody can be let in: with a kubeconfig the API server
    says who a token belongs to and what each user may do; with --client-ca-file alone, whoever has a certificate of
    those authorities may do everything. Without either, the port stays closed.
    """
    if manifests is None and not url and kubeconfig is None:
        raise InvalidArgument(
            "say where the Pods are: --pod-manifest-path DIR, --manifest-url URL or --kubeconfig FILE"
        )
    if (certificate is None) != (key is None):
        raise InvalidArgument("--tls-cert-file and --tls-private-key-file go together")
    settings = current()
    for chatty in ("asyncio", "grpc"):
        logging.getLogger(chatty).setLevel(logging.INFO)
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from podyard import node
    from podyard.node.cluster import flags
    from podyard.node.cluster.node_object import MAX_PODS, Settings
    from podyard.node.serving import Serving
    from podyard.pods.engine import LOG_ROOT, ROOT

    pod_root = settings.pod_root or ROOT
    member = Settings(
        name=flags.node_name(node_name),
        labels=flags.parse_labels(labels),
        taints=flags.parse_taints(taints),
        max_pods=max_pods or MAX_PODS,
    )
    options = node.Options(
        manifests=manifests,
        url=url,
        headers=dict(flags.parse_header(header) for header in headers),
        kubeconfig=kubeconfig,
        dns=flags.parse_dns(dns, domain),
        node=member if kubeconfig is not None else None,
        serving=Serving(
            own_certificate=pod_root.parent / "node.pem",
            address=address,
            port=port,
            certificate=certificate,
            key=key,
            authorities=authorities,
            anonymous_health=anonymous_healthz,
        ),
        runtime_endpoint=runtime or settings.runtime_endpoint,
        # An image endpoint counts only with its own runtime's: a setting elsewhere must not join two runtimes.
        image_endpoint=images or (settings.image_endpoint if runtime is None else None),
        versions=[version.strip() for version in versions.split(",")],
        housekeeping=housekeeping.settings(tidy),
        shutdown=housekeeping.shutdown(tidy),
        pod_root=pod_root,
        log_root=settings.log_root or LOG_ROOT,
        api_socket=api_socket or pod_root.parent / "node.sock",
    )
    asyncio.run(node.run(options))
