"""The calls that change limits."""

from __future__ import annotations

from podyard.cri import api
from podyard.lifecycle import containers
from podyard.lifecycle.requests import check_unimplemented
from podyard.runtime.calls.base import Calls
from podyard.runtime.container_update import UpdateContainerResources
from podyard.runtime.sandbox_update import UpdatePodSandboxResources


class UpdateCalls(Calls):
    """UpdateContainerResources and UpdatePodSandboxResources."""

    async def UpdateContainerResources(
        self, request: api.UpdateContainerResourcesRequest
    ) -> api.UpdateContainerResourcesResponse:
        """Change a container's limits. The request's annotations are for plugins that podyard does not have."""
        entry = self._store.container(request.container_id)
        check_unimplemented({"windows": request.HasField("windows")})
        containers.check_may_change(entry.record)
        await self._context.engine.run(UpdateContainerResources(self._context, entry.record.id, request.linux))
        return api.UpdateContainerResourcesResponse()

    async def UpdatePodSandboxResources(
        self, request: api.UpdatePodSandboxResourcesRequest
    ) -> api.UpdatePodSandboxResourcesResponse:
        """Change what a pod may use as a whole."""
        entry = self._store.sandbox(request.pod_sandbox_id)
        operation = UpdatePodSandboxResources(self._context, entry.record.id, request.resources, request.overhead)
        await self._context.engine.run(operation)
        return api.UpdatePodSandboxResourcesResponse()
