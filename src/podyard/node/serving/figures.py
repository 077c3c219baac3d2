"""Statistics and metrics over HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiohttp import web

from podyard.client import Client
from podyard.errors import PodyardError
from podyard.metrics import CONTENT_TYPE, text
from podyard.model.metric import Metric
from podyard.node.agent import Agent
from podyard.node.disks import DiskUsage
from podyard.node.serving.cadvisor import cadvisor_metrics
from podyard.node.serving.pods import NodePods
from podyard.node.serving.summary import resource_metrics, summary
from podyard.node.usage import UsageReader
from podyard.pods import PodView

logger = logging.getLogger(__name__)


class Figures:
    """``/stats/summary``, ``/metrics/resource``, ``/metrics/cadvisor``, ``/metrics/probes`` and
    ``/metrics``."""

    def __init__(
        self, client: Client, agent: Agent, pods: NodePods, *, disks: DiskUsage, pod_root: Path, node: str
    ) -> None:
        self._client = client
        self._agent = agent
        self._pods = pods
        self._node = node
        self._usage = UsageReader(client, pod_root)
        self._disks = disks

    async def summary(self, request: web.Request) -> web.Response:
        """Usage of the machine and of each Pod."""
        usage, views = await asyncio.gather(self._usage.read(), self._pods.views())
        return web.json_response(summary(usage, views, await self._disks.read(views), self._node))

    async def resource(self, request: web.Request) -> web.Response:
        """The part of it that schedulers and autoscalers go by."""
        usage = await self._usage.read()
        views = [] if usage.failure else await self._pods.views()
        return _exposed(resource_metrics(usage, views))

    async def cadvisor(self, request: web.Request) -> web.Response:
        """What the runtime counts itself. Unimplemented where it has no such metrics."""
        runtime = self._client.runtime
        descriptors, pods = await asyncio.gather(runtime.list_metric_descriptors(), runtime.list_pod_sandbox_metrics())
        return _exposed(cadvisor_metrics(descriptors, pods))

    async def probes(self, request: web.Request) -> web.Response:
        """How often containers were probed, since the agent took their Pods on."""
        return _exposed(probe_metrics(self._agent))

    async def metrics(self, request: web.Request) -> web.Response:
        """What the agent tells of itself; of the Pods only while the runtime can be asked."""
        try:
            views = await self._pods.views()
        except PodyardError as error:
            logger.debug("the metrics lack the Pods: %s", error)
            views = None
        return _exposed(agent_metrics(self._agent, views, self._node))


def agent_metrics(agent: Agent, views: Sequence[PodView] | None, node: str) -> Iterator[Metric]:
    """The agent's metrics; those of a kubelet have its names."""
    yield Metric("kubelet_node_name", "gauge", "The node's name. The value is always 1.", 1, (("node", node),))
    if views is not None:
        yield from _of_pods(views)
    yield Metric("podyard_node_pods", "gauge", "Pods that the node works on.", len(agent.workers))
    ready = 0 if agent.trouble else 1
    yield Metric("podyard_node_ready", "gauge", "Whether the runtime can be used.", ready)
    yield from _process()


def probe_metrics(agent: Agent) -> Iterator[Metric]:
    """What the probes of each container said, by a kubelet's names."""
    text = "How often a container was probed, by what came of it."
    for worker in list(agent.workers.values()):
        pod = worker.pod
        if pod is None:
            continue
        for (container, kind, result), count in sorted(worker.board.probed.items()):
            labels = {
                "container": container,
                "namespace": pod.metadata.namespace,
                "pod": pod.metadata.name,
                "pod_uid": pod.metadata.uid,
                "probe_type": kind.capitalize(),
                "result": result,
            }
            yield Metric("prober_probe_total", "counter", text, count, tuple(labels.items()))


def _of_pods(views: Sequence[PodView]) -> Iterator[Metric]:
    running = sum(view.running for view in views)
    yield Metric("kubelet_running_pods", "gauge", "Pods of which a container runs.", running)
    states = Counter(container.state for view in views for container in view.containers)
    for state, count in sorted(states.items()):
        labels = (("container_state", state),)
        yield Metric("kubelet_running_containers", "gauge", "Containers in each state.", count, labels)


def _process() -> Iterator[Metric]:
    """What the agent's process uses, by the names that Prometheus' own clients have."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime
    yield Metric("process_cpu_seconds_total", "counter", "Processor time of the agent.", seconds)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    yield Metric("process_resident_memory_bytes", "gauge", "Memory of the agent.", memory)
    yield Metric("process_open_fds", "gauge", "Open file descriptors.", sum(1 for _ in Path("/proc/self/fd").iterdir()))
    yield Metric("process_start_time_seconds", "gauge", "When the agent was started.", _STARTED)


_STARTED = time.time()


def _exposed(metrics: Iterator[Metric]) -> web.Response:
    return web.Response(body=text(metrics).encode(), headers={"Content-Type": CONTENT_TYPE})
