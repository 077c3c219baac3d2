"""UpdatePodSandboxResources."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound
from podyard.linux import cgroups
from podyard.oci import limits
from podyard.oci.resources import linux_resources
from podyard.operations import Operation, Step
from podyard.runtime import resources
from podyard.runtime.container_update import check_memory
from podyard.runtime.context import Context
from podyard.runtime.store import SandboxEntry

_numbers = itertools.count()


class Journaled(msgspec.Struct, frozen=True):
    """What a change needs after a crash; the two are serialized runtime.v1.LinuxContainerResources."""

    id: str
    resources: bytes
    overhead: bytes


class UpdatePodSandboxResources(Operation[None]):
    """Change what a pod may use as a whole: all its containers, and its own overhead.

    A kubelet has changed the pod's cgroup, which is its own, before it tells the runtime: there the change is only
    recorded. The cgroup of a pod that names none is podyard's, and gets the limits.
    """

    kind = "UpdatePodSandboxResources"
    policy = "undo"

    def __init__(
        self,
        context: Context,
        sandbox_id: str,
        wanted: api.LinuxContainerResources,
        overhead: api.LinuxContainerResources,
    ) -> None:
        self.context = context
        self.subject = sandbox_id
        self.wanted = wanted
        self.overhead = overhead
        self._number = next(_numbers)

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> UpdatePodSandboxResources:
        """The operation again, after a crash: only ever to be undone."""
        found = msgspec.json.decode(data, type=Journaled)
        parse = api.LinuxContainerResources.FromString
        return cls(context, found.id, parse(found.resources), parse(found.overhead))

    @property
    def key(self) -> str:
        # Changes are never joined: where several are asked for, the last one decides.
        return f"{super().key}:{self._number}"

    def journal_input(self) -> bytes:
        serialized = (self.wanted.SerializeToString(), self.overhead.SerializeToString())
        return msgspec.json.encode(Journaled(self.subject, *serialized))

    def steps(self) -> Sequence[Step]:
        return [
            Step("checking the limits", self.check),
            Step("changing the limits", self.change, undo=self.restore),
            Step("remembering the limits", self.remember),
        ]

    def result(self) -> None:
        return None

    async def check(self) -> None:
        """What the kernel or the host does not allow is refused before anything is touched."""
        entry = self._entry()
        after = self._total(*self._after(entry))
        self._limits(after)
        if owns_cgroup(self.context, entry):
            check_memory(after, self._cgroup(), f"pod sandbox {self.subject[:12]}")

    async def change(self) -> None:
        """Write the pod's cgroup, where it is podyard's."""
        entry = self._entry()
        if owns_cgroup(self.context, entry):
            await asyncio.to_thread(self._apply, self._limits(self._total(*self._after(entry))))

    async def restore(self) -> None:
        """The limits of the record. A sandbox that is stopped has no cgroup any more."""
        entry = self.context.store.sandboxes.get(self.subject)
        if entry is None or not owns_cgroup(self.context, entry):
            return
        before, after = self._total(*now(entry)), self._total(*self._after(entry))
        await asyncio.to_thread(self._apply, limits.restoring(self._limits(before), self._limits(after)))

    async def remember(self) -> None:
        """From here on verbose status shows them."""
        entry = self._entry()
        changed, overhead = (one.SerializeToString(deterministic=True) for one in self._after(entry))
        self.context.store.save_sandbox(replace(entry.record, resources=changed, overhead=overhead))

    def _entry(self) -> SandboxEntry:
        entry = self.context.store.sandboxes.get(self.subject)
        if entry is None:
            raise NotFound(f"pod sandbox {self.subject[:12]} was removed before its limits were changed")
        return entry

    def _after(self, entry: SandboxEntry) -> tuple[api.LinuxContainerResources, api.LinuxContainerResources]:
        pod, overhead = now(entry)
        return resources.merged(pod, self.wanted), resources.merged(overhead, self.overhead)

    def _total(
        self, pod: api.LinuxContainerResources, overhead: api.LinuxContainerResources
    ) -> api.LinuxContainerResources:
        return resources.together(pod, overhead)

    def _limits(self, wanted: api.LinuxContainerResources) -> dict[str, Any]:
        return linux_resources(wanted, self.context.host)

    def _cgroup(self) -> str:
        return self.context.cgroup_parent(self.subject, "")

    def _apply(self, changed: dict[str, Any]) -> None:
        files = limits.pod_files(changed, v2=self.context.host.cgroup_v2)
        cgroups.make(self._cgroup(), {name.partition(".")[0] for name in files})
        for name, value in files.items():
            try:
                cgroups.write(self._cgroup(), name, value)
            except OSError as error:
                raise InvalidArgument(f"the kernel refuses {value} as {name} of the pod: {error.strerror}") from error


def now(entry: SandboxEntry) -> tuple[api.LinuxContainerResources, api.LinuxContainerResources]:
    """What holds for a pod: its containers together, and its overhead."""
    record, linux = entry.record, entry.config.linux
    parse = api.LinuxContainerResources.FromString
    pod = linux.resources if record.resources is None else parse(record.resources)
    return pod, linux.overhead if record.overhead is None else parse(record.overhead)


def owns_cgroup(context: Context, entry: SandboxEntry) -> bool:
    """Whether a pod that is ready has a cgroup of podyard's own, not the client's or systemd's."""
    return entry.record.ready and not entry.config.linux.cgroup_parent and not context.systemd_cgroups
