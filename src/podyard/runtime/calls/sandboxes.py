"""The calls on pod sandboxes."""

from __future__ import annotations

import json

from podyard.cri import api
from podyard.errors import AlreadyExists
from podyard.runtime import messages, sandbox_run, sandbox_update
from podyard.runtime.calls.base import Calls, check_is_ready, known, read_spec, taken
from podyard.runtime.context import now
from podyard.runtime.sandbox_stop import RemovePodSandbox, StopPodSandbox
from podyard.runtime.store import SandboxEntry, sandbox_name, statuses_of


class SandboxCalls(Calls):
    """RunPodSandbox to RemovePodSandbox, status and list."""

    async def RunPodSandbox(self, request: api.RunPodSandboxRequest) -> api.RunPodSandboxResponse:
        """Make a sandbox, or return the one that the same request made before."""
        context, config = self._context, request.config
        sandbox = sandbox_run.planned(context, config, request.runtime_handler)
        existing = self._store.sandbox_by_name(sandbox_name(config))
        if existing is not None:
            if existing.record.config == sandbox.config and existing.record.handler == sandbox.handler:
                check_is_ready(existing)
                return api.RunPodSandboxResponse(pod_sandbox_id=existing.record.id)
            raise AlreadyExists(taken("pod sandbox", existing.record.id, config.metadata.name))
        made = await context.engine.run(sandbox_run.RunPodSandbox(context, sandbox))
        return api.RunPodSandboxResponse(pod_sandbox_id=made)

    async def StopPodSandbox(self, request: api.StopPodSandboxRequest) -> api.StopPodSandboxResponse:
        """Stop a sandbox; one that is not there has been stopped."""
        entry = known(self._store.sandbox, request.pod_sandbox_id)
        if entry is not None:
            self._hurry(entry.record.id, 0)
            await self._context.engine.run(StopPodSandbox(self._context, entry.record.id))
        return api.StopPodSandboxResponse()

    async def RemovePodSandbox(self, request: api.RemovePodSandboxRequest) -> api.RemovePodSandboxResponse:
        """Remove a sandbox and its containers; one that is not there has been removed."""
        entry = known(self._store.sandbox, request.pod_sandbox_id)
        if entry is not None:
            self._hurry(entry.record.id, 0)
            await self._context.engine.run(RemovePodSandbox(self._context, entry.record.id))
        return api.RemovePodSandboxResponse()

    async def PodSandboxStatus(self, request: api.PodSandboxStatusRequest) -> api.PodSandboxStatusResponse:
        """A sandbox in full, with its containers.

        Where they are too many, neither they nor the time are told: to a kubelet that means to ask for each.
        """
        entry = self._store.sandbox(request.pod_sandbox_id)
        response = api.PodSandboxStatusResponse(
            status=messages.sandbox_status(entry.record, entry.config),
            containers_statuses=statuses_of(self._store, entry.record.id) or [],
        )
        if response.containers_statuses or not self._store.containers_of(entry.record.id):
            response.timestamp = now()
        if request.verbose:
            response.info.update(self._sandbox_info(entry))
        return response

    async def ListPodSandbox(self, request: api.ListPodSandboxRequest) -> api.ListPodSandboxResponse:
        """Sandboxes that fit the filter, the newest first."""
        wanted = request.filter
        found = [
            entry
            for entry in self._store.sandboxes.values()
            if entry.record.id.startswith(wanted.id)
            and (not wanted.HasField("state") or messages.sandbox_state(entry.record) == wanted.state.state)
            and messages.matches_labels(entry.config.labels, wanted.label_selector.items())
        ]
        found.sort(key=lambda entry: entry.record.created_at, reverse=True)
        return api.ListPodSandboxResponse(items=[entry.message for entry in found])

    def _sandbox_info(self, entry: SandboxEntry) -> dict[str, str]:
        record, paths = entry.record, self._context.paths
        pod, overhead = sandbox_update.now(entry)
        own_network = entry.config.linux.security_context.namespace_options.network != api.NODE
        return messages.info(
            {
                "pid": record.infra.pid if record.infra and record.ready else 0,
                "config": messages.as_json(entry.config),
                "runtimeSpec": read_spec(paths.bundle(record.id)),
                "runtimeHandler": record.handler,
                "resources": messages.as_json(pod),
                "overhead": messages.as_json(overhead),
                "cniResult": json.loads(record.network_result),
                "netNamespaceClosed": own_network and not (paths.pins(record.id) / "network").exists(),
            }
        )
