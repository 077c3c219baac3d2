"""``podyard node``: everything put together, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from podyard.client import Client
from podyard.manifest.translate import ClusterDns
from podyard.node.agent import Agent
from podyard.node.api import served
from podyard.node.cluster import Cluster
from podyard.node.cluster.node_object import Settings
from podyard.node.cluster.objects import ApiObjects
from podyard.node.housekeeping import Housekeeper
from podyard.node.housekeeping import Settings as Housekeeping
from podyard.node.kube import KubeClient, load_kubeconfig
from podyard.node.objects import FirstOf
from podyard.node.serving import NodeApi, Serving, serving
from podyard.node.shutdown import Grace, Shutdown
from podyard.node.source import ManifestDirectory
from podyard.node.url import ManifestUrl
from podyard.node.wanted import Source
from podyard.node.watch import RuntimeWatch
from podyard.pods import PodEngine
from podyard.pods.host import read_host
from podyard.pods.objects import ManifestObjects, Objects

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a node is to do. At least one of ``manifests``, ``url`` and ``kubeconfig`` is given."""

    runtime_endpoint: str
    image_endpoint: str | None
    versions: Sequence[str]
    pod_root: Path
    log_root: Path
    api_socket: Path
    manifests: Path | None = None
    """A directory."""
    dns: ClusterDns = field(default_factory=ClusterDns)
    """The cluster's name servers, if there are any."""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the URL."""
    kubeconfig: Path | None = None
    node: Settings | None = None
    """What the node is in the cluster that the kubeconfig leads to."""
    housekeeping: Housekeeping = field(default_factory=Housekeeping)
    """When the node clears up, and when it evicts Pods."""
    shutdown: Grace | None = None
    """How long a shutdown of the machine waits for the Pods to end; None: it does not."""
    serving: Serving | None = None
    """How the node's own API is served over TLS, where somebody can be let in: an API server says who, or
    authorities of clients' certificates do."""


async def run(options: Options) -> None:
    """Run the Pods of all sources until SIGTERM or SIGINT; they go on then.

    The versions of the CRI are chosen once, here, before any node is registered. Raises EndpointError when none can be
    spoken, NotFound for the directory, what ``load_kubeconfig``, ``served`` and ``Shutdown.check`` raise; nothing was
    started then.
    """
    name = options.node.name if options.node is not None else ""
    directory = ManifestDirectory(options.manifests, name) if options.manifests is not None else None
    if directory is not None:
        await asyncio.to_thread(directory.look)
    url = ManifestUrl(options.url, options.headers, node=name) if options.url else None
    access = load_kubeconfig(options.kubeconfig) if options.kubeconfig is not None else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            await Client.connect(options.runtime_endpoint, options.image_endpoint, versions=options.versions)
        )
        kube = await stack.enter_async_context(KubeClient(access)) if access is not None else None
        sources: list[Source] = [source for source in (directory, url) if source is not None]
        places: list[Objects] = [source.objects for source in (directory, url) if source is not None]
        objects = ApiObjects(kube) if kube is not None else None
        places.append(objects or ManifestObjects())
        engine = PodEngine(
            client, options.pod_root, log_root=options.log_root, objects=FirstOf(places), dns=options.dns
        )
        watch = RuntimeWatch(client)
        host = await asyncio.to_thread(read_host)
        runtime = (await client.runtime.version()).runtime_name if kube is not None else ""
        agent = Agent(engine, sources, watch, host_ips=host.ips, runtime=runtime)
        keeper = Housekeeper(client, engine, agent, options.housekeeping, options.pod_root)
        agent.refuses = keeper.evictor.refuses
        shutdown = Shutdown(engine, agent, options.shutdown) if options.shutdown is not None else None
        if shutdown is not None:
            await shutdown.check()
            agent.refuses = lambda pod: shutdown.refuses(pod) or keeper.evictor.refuses(pod)
        port: int | None = None
        if options.serving is not None and (kube is not None or options.serving.authorities is not None):
            api = NodeApi(client, engine, agent, options.pod_root, name or host.name, kube)
            port = await stack.enter_async_context(serving(api, options.serving, host.ips))
            logger.info("node: API over TLS at %s port %d", options.serving.address, port)
        works = [agent.run(), keeper.run(), *([url.run()] if url is not None else [])]
        if kube is not None and objects is not None and options.node is not None:
            cluster = Cluster(
                kube,
                client,
                engine,
                agent,
                watch,
                objects=objects,
                settings=replace(options.node, port=port, thresholds=options.housekeeping.thresholds),
                pod_root=options.pod_root,
                evictor=keeper.evictor,
            )
            works.append(cluster.run())
        if shutdown is not None:
            shutdown.on_change = watch.on_trouble
            works.append(shutdown.run())
        await stack.enter_async_context(served(agent, options.api_socket))
        logger.info(
            "node: on %s (%s, images %s), API at %s",
            options.runtime_endpoint,
            client.runtime_version,
            client.image_version,
            options.api_socket,
        )
        for source in (options.manifests, options.url, kube.server if kube is not None else ""):
            if source:
                logger.info("node: pods of %s", source)
        await _until(stop, works)


async def _until(stop: asyncio.Event, works: Sequence[Coroutine[Any, Any, None]]) -> None:
    running = asyncio.create_task(_together(works))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stopping.cancel()
        await running
    running.cancel()
    await asyncio.wait((running,))
    logger.info("node: ended; the pods go on")


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
