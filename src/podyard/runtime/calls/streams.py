"""The lists as streams: the same items as the unary calls give, in parts, so that no message grows too large."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from podyard.cri import api
from podyard.cri.parts import parts
from podyard.runtime.calls.containers import ContainerCalls
from podyard.runtime.calls.sandboxes import SandboxCalls


class StreamCalls(SandboxCalls, ContainerCalls):
    """StreamPodSandboxes and StreamContainers. An empty list is a stream without a message."""

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
