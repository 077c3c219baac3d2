"""StopPodSandbox and RemovePodSandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from podyard.errors import PodyardError
from podyard.linux import mounts, namespaces
from podyard.operations import Operation, Step
from podyard.runtime.container_remove import ReapContainer, RemoveContainer
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.context import Context
from podyard.runtime.sandbox_run import attach_request, remove_own_cgroup, stop_infra
from podyard.runtime.store import ContainerEntry


class StopPodSandbox(Operation[None]):
    """Kill what runs in a sandbox and give back its network, its namespaces and its files."""

    kind = "StopPodSandbox"
    policy = "finish"

    def __init__(self, context: Context, sandbox_id: str) -> None:
        self.context = context
        self.subject = sandbox_id
        self.entry = context.store.sandboxes.get(sandbox_id)

    def journal_input(self) -> bytes:
        return self.subject.encode()

    def steps(self) -> Sequence[Step]:
        limit = self.context.config.network.timeout + 5
        return [
            Step("marking the sandbox as not ready", self.mark),
            Step("stopping its containers", self.stop_containers),
            Step("ending the infra process", self.end_infra),
            Step("detaching the network", self.detach, limit=limit),
            Step("taking the namespaces away", self.unpin),
            Step("removing the pod's files", self.remove_files),
            Step("removing the cgroup", self.remove_cgroup),
        ]

    def result(self) -> None:
        return None

    async def mark(self) -> None:
        """From here on no container can be made in it."""
        if self.entry is not None and self.entry.record.ready:
            self.context.store.save_sandbox(replace(self.entry.record, ready=False))

    async def stop_containers(self) -> None:
        """Kill them: the kubelet has stopped them before, each with its grace period."""
        await self._for_each(
            lambda entry: self.context.engine.run(StopContainer(self.context, entry.record.id, 0), parent=self)
        )

    async def end_infra(self) -> None:
        """End the process that holds a shared PID namespace."""
        if self.entry is not None:
            await stop_infra(self.context, self.entry.record)

    async def detach(self) -> None:
        """Give the addresses back. Does nothing for a sandbox that is not attached."""
        if self.entry is not None:
            await self.context.network.detach(attach_request(self.context, self.subject, self.entry.config))

    async def unpin(self) -> None:
        """The namespaces go with their pins: nobody uses them any more."""
        await asyncio.to_thread(namespaces.unpin, self.context.paths.pins(self.subject))

    async def remove_files(self) -> None:
        """resolv.conf and the like, and /dev/shm with what the containers left in it."""
        await asyncio.to_thread(mounts.remove_tree, self.context.paths.sandbox(self.subject))

    async def remove_cgroup(self) -> None:
        """The cgroup above the containers, once they have been reaped."""
        if self.entry is not None:
            await self._for_each(self._reaped)
            await asyncio.to_thread(remove_own_cgroup, self.context, self.subject, self.entry.config)

    async def _reaped(self, entry: ContainerEntry) -> None:
        await self.context.engine.run(ReapContainer(self.context, entry.record.id), parent=self)

    async def _for_each(self, action: Callable[[ContainerEntry], Awaitable[None]]) -> None:
        """Act on all containers at once; the first error is raised when all have been tried."""
        entries = self.context.store.containers_of(self.subject)
        outcomes = await asyncio.gather(*(action(entry) for entry in entries), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise failures[0]


class RemovePodSandbox(StopPodSandbox):
    """Stop a sandbox if it is not stopped, remove its containers, and forget it."""

    kind = "RemovePodSandbox"

    def steps(self) -> Sequence[Step]:
        stopping = list(super().steps())
        return [
            *stopping,
            Step("removing its containers", self.remove_containers),
            Step("forgetting the sandbox", self.forget, needs_all=True),
        ]

    async def remove_containers(self) -> None:
        """All of them, ended or not."""
        await self._for_each(
            lambda entry: self.context.engine.run(RemoveContainer(self.context, entry.record.id), parent=self)
        )

    async def forget(self) -> None:
        """From here on the sandbox does not exist."""
        if self.context.store.containers_of(self.subject):
            raise PodyardError(f"containers of sandbox {self.subject[:12]} are left; remove it again")
        self.context.store.delete_sandbox(self.subject)
