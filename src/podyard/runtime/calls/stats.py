"""The calls on use and metrics."""

from __future__ import annotations

from podyard.cri import api
from podyard.runtime import measured, messages
from podyard.runtime.calls.base import Calls
from podyard.stats import metrics


class StatsCalls(Calls):
    """Statistics of containers and sandboxes, and metrics.

    Lists have what runs, as the protocol says. A container or a sandbox that is asked for by its id answers in any
    state, with what there is to measure.
    """

    async def ContainerStats(self, request: api.ContainerStatsRequest) -> api.ContainerStatsResponse:
        """What a container uses; one that has ended still has its writable layer."""
        target = measured.container(self._context, self._store.container(request.container_id))
        return api.ContainerStatsResponse(stats=await self._context.stats.container(target))

    async def ListContainerStats(self, request: api.ListContainerStatsRequest) -> api.ListContainerStatsResponse:
        """What the containers use that fit the filter and have a process."""
        wanted = request.filter
        targets = [
            measured.container(self._context, entry)
            for entry in self._store.containers.values()
            if measured.has_process(entry)
            and entry.record.id.startswith(wanted.id)
            and entry.record.sandbox_id.startswith(wanted.pod_sandbox_id)
            and messages.matches_labels(entry.config.labels, wanted.label_selector.items())
        ]
        return api.ListContainerStatsResponse(stats=await self._context.stats.containers(targets))

    async def PodSandboxStats(self, request: api.PodSandboxStatsRequest) -> api.PodSandboxStatsResponse:
        """What a sandbox and its containers use; nothing once it was stopped."""
        targets = measured.sandboxes(self._context, [self._store.sandbox(request.pod_sandbox_id)])
        [stats] = await self._context.stats.sandboxes(targets)
        return api.PodSandboxStatsResponse(stats=stats)

    async def ListPodSandboxStats(self, request: api.ListPodSandboxStatsRequest) -> api.ListPodSandboxStatsResponse:
        """What the sandboxes use that fit the filter and are ready."""
        wanted = request.filter
        entries = [
            entry
            for entry in self._store.sandboxes.values()
            if entry.record.ready
            and entry.record.id.startswith(wanted.id)
            and messages.matches_labels(entry.config.labels, wanted.label_selector.items())
        ]
        targets = measured.sandboxes(self._context, entries)
        return api.ListPodSandboxStatsResponse(stats=await self._context.stats.sandboxes(targets))

    async def ListMetricDescriptors(
        self, request: api.ListMetricDescriptorsRequest
    ) -> api.ListMetricDescriptorsResponse:
        """The metrics that ListPodSandboxMetrics has values for."""
        return api.ListMetricDescriptorsResponse(descriptors=metrics.descriptors())

    async def ListPodSandboxMetrics(
        self, request: api.ListPodSandboxMetricsRequest
    ) -> api.ListPodSandboxMetricsResponse:
        """The metrics of all sandboxes that are ready, and of their containers that have a process."""
        return await self._context.stats.metrics(measured.census(self._context))
