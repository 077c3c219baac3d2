"""Version, Status, RuntimeConfig, UpdateRuntimeConfig."""

from __future__ import annotations

from podyard.cri import api
from podyard.runtime import status
from podyard.runtime.calls.base import Calls


class NodeCalls(Calls):
    """What the runtime says of itself."""

    async def Version(self, request: api.VersionRequest, api_version: str = "v1") -> api.VersionResponse:
        """Name and versions."""
        return status.version(api_version)

    async def Status(self, request: api.StatusRequest) -> api.StatusResponse:
        """Conditions, handlers, features."""
        return status.status(self._context, verbose=request.verbose)

    async def RuntimeConfig(self, request: api.RuntimeConfigRequest) -> api.RuntimeConfigResponse:
        """The cgroup driver."""
        return status.runtime_config(self._context)

    async def UpdateRuntimeConfig(self, request: api.UpdateRuntimeConfigRequest) -> api.UpdateRuntimeConfigResponse:
        """Take over a kubelet's pod CIDR; without one there is nothing to do."""
        cidr = request.runtime_config.network_config.pod_cidr
        if cidr:
            await self._context.network.set_pod_cidr(cidr)
        return api.UpdateRuntimeConfigResponse()
