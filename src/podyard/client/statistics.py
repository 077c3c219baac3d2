"""The calls of the RuntimeService on what sandboxes and containers use."""

from __future__ import annotations

from podyard.client.service import ServiceClient
from podyard.cri import api

__all__ = ["StatisticsClient"]


class StatisticsClient(ServiceClient):
    """The calls, with what they return unpacked. All raise as ``ServiceClient.call`` does."""

    async def container_stats(self, id: str) -> api.ContainerStats:
        """What a container uses. Raises NotFound."""
        answer: api.ContainerStatsResponse = await self.call(
            "ContainerStats", api.ContainerStatsRequest(container_id=id)
        )
        return answer.stats

    async def list_container_stats(self, filter: api.ContainerStatsFilter | None = None) -> list[api.ContainerStats]:
        """What the running containers use that fit a filter, or all."""
        answer: api.ListContainerStatsResponse = await self.call(
            "ListContainerStats", api.ListContainerStatsRequest(filter=filter)
        )
        return list(answer.stats)

    async def pod_sandbox_stats(self, id: str) -> api.PodSandboxStats:
        """What a sandbox uses, and each container in it. Raises NotFound; v1alpha2 before Kubernetes 1.23 lacks it."""
        answer: api.PodSandboxStatsResponse = await self.call(
            "PodSandboxStats", api.PodSandboxStatsRequest(pod_sandbox_id=id)
        )
        return answer.stats

    async def list_pod_sandbox_stats(
        self, filter: api.PodSandboxStatsFilter | None = None
    ) -> list[api.PodSandboxStats]:
        """What the ready sandboxes use that fit a filter, or all."""
        answer: api.ListPodSandboxStatsResponse = await self.call(
            "ListPodSandboxStats", api.ListPodSandboxStatsRequest(filter=filter)
        )
        return list(answer.stats)

    async def list_metric_descriptors(self) -> list[api.MetricDescriptor]:
        """The metrics that the runtime has, with their labels. Many runtimes and v1alpha2 lack it: Unimplemented."""
        answer: api.ListMetricDescriptorsResponse = await self.call(
            "ListMetricDescriptors", api.ListMetricDescriptorsRequest()
        )
        return list(answer.descriptors)

    async def list_pod_sandbox_metrics(self) -> list[api.PodSandboxMetrics]:
        """The metrics of all ready sandboxes and their containers. Unimplemented where the descriptors are."""
        answer: api.ListPodSandboxMetricsResponse = await self.call(
            "ListPodSandboxMetrics", api.ListPodSandboxMetricsRequest()
        )
        return list(answer.pod_metrics)
