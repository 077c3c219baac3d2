"""``podyard node``: everything put together, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path

from podyard.client import Client
from podyard.node.agent import Agent
from podyard.node.api import served
from podyard.node.source import ManifestDirectory
from podyard.node.watch import RuntimeWatch
from podyard.pods import PodEngine
from podyard.pods.host import read_host

logger = logging.getLogger(__name__)


async def run(
    manifests: Path,
    *,
    runtime_endpoint: str,
    image_endpoint: str | None,
    versions: Sequence[str],
    pod_root: Path,
    log_root: Path,
    api_socket: Path,
) -> None:
    """Run the Pods of a directory until SIGTERM or SIGINT; they go on then.

    The versions of the CRI are chosen once, here. Raises EndpointError when none can be spoken, NotFound for the
    directory, and what ``served`` raises; nothing was started then.
    """
    source = ManifestDirectory(manifests)
    await asyncio.to_thread(source.look)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await Client.connect(runtime_endpoint, image_endpoint, versions=versions) as client:
        host = await asyncio.to_thread(read_host)
        engine = PodEngine(client, pod_root, log_root=log_root, objects=source.objects)
        agent = Agent(engine, source, RuntimeWatch(client), host_ips=host.ips)
        async with served(agent, api_socket):
            logger.info(
                "node: pods of %s on %s (%s, images %s), API at %s",
                source.path,
                runtime_endpoint,
                client.runtime_version,
                client.image_version,
                api_socket,
            )
            await _until(stop, agent)


async def _until(stop: asyncio.Event, agent: Agent) -> None:
    running = asyncio.create_task(agent.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stopping.cancel()
        await running
    running.cancel()
    await asyncio.wait((running,))
    logger.info("node: ended; the pods go on")
