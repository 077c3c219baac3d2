"""The lists as streams: the same items as the unary calls give, in parts, so that no message grows too large."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from podyard.cri import api
from podyard.cri.parts import parts
from podyard.runtime.calls.containers import ContainerCalls
from podyard.runtime.calls.sandboxes import SandboxCalls
from podyard.runtime.calls.stats import StatsCalls


class StreamCalls(SandboxCalls, ContainerCalls, StatsCalls):
    """The Stream* calls of the RuntimeService. An empty list is a stream without a message."""

    async def StreamPodSandboxes(
        self, request: api.StreamPodSandboxesRequest
    ) -> AsyncGenerator[api.StreamPodSandboxesResponse, None]:
        """Sandboxes that fit the filter, the newest first."""
        answer = await self.ListPodSandbox(api.ListPodSandboxRequest(filter=request.filter))
        for part in parts(answer.items):
            yield api.StreamPodSandboxesResponse(pod_sandboxes=part)

    async def StreamContainers(
        self, request: api.StreamContainersRequest
    ) -> AsyncGenerator[api.StreamContainersResponse, None]:
        """Containers that fit the filter, the newest first."""
        answer = await self.ListContainers(api.ListContainersRequest(filter=request.filter))
        for part in parts(answer.containers):
            yield api.StreamContainersResponse(containers=part)

    async def StreamContainerStats(
        self, request: api.StreamContainerStatsRequest
    ) -> AsyncGenerator[api.StreamContainerStatsResponse, None]:
        """What the containers use that fit the filter and have a process."""
        answer = await self.ListContainerStats(api.ListContainerStatsRequest(filter=request.filter))
        for part in parts(answer.stats):
            yield api.StreamContainerStatsResponse(container_stats=part)

    async def StreamPodSandboxStats(
        self, request: api.StreamPodSandboxStatsRequest
    ) -> AsyncGenerator[api.StreamPodSandboxStatsResponse, None]:
        """What the sandboxes use that fit the filter and are ready."""
        answer = await self.ListPodSandboxStats(api.ListPodSandboxStatsRequest(filter=request.filter))
        for part in parts(answer.stats):
            yield api.StreamPodSandboxStatsResponse(pod_sandbox_stats=part)

    async def StreamPodSandboxMetrics(
        self, request: api.StreamPodSandboxMetricsRequest
    ) -> AsyncGenerator[api.StreamPodSandboxMetricsResponse, None]:
        """The metrics of all sandboxes that are ready."""
        answer = await self.ListPodSandboxMetrics(api.ListPodSandboxMetricsRequest())
        for part in parts(answer.pod_metrics):
            yield api.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=part)
