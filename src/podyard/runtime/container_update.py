"""UpdateContainerResources."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import FailedPrecondition, Internal, NotFound, PodyardError
from podyard.lifecycle import containers
from podyard.linux import cgroups, process
from podyard.oci import limits
from podyard.oci.process import oom_score_adj
from podyard.oci.resources import linux_resources
from podyard.oci.runtime import VERB_LIMIT
from podyard.operations import Operation, Step
from podyard.runtime import resources
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry

_numbers = itertools.count()


class Journaled(msgspec.Struct, frozen=True):
    """What a change needs after a crash. ``wanted``: serialized runtime.v1.LinuxContainerResources."""

    id: str
    wanted: bytes


class UpdateContainerResources(Operation[None]):
    """Change a container's limits; those that ``wanted`` does not name stay.

    A failure, or a crash, brings back the limits that the record has.
    """

    kind = "UpdateContainerResources"
    policy = "undo"

    def __init__(self, context: Context, container_id: str, wanted: api.LinuxContainerResources) -> None:
        self.context = context
        self.subject = container_id
        self.wanted = wanted
        entry = context.store.containers.get(container_id)
        self.within = entry.record.sandbox_id if entry else ""
        self._number = next(_numbers)

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> UpdateContainerResources:
        """The operation again, after a crash: only ever to be undone."""
        found = msgspec.json.decode(data, type=Journaled)
        return cls(context, found.id, api.LinuxContainerResources.FromString(found.wanted))

    @property
    def key(self) -> str:
        # Changes are never joined: where several are asked for, the last one decides.
        return f"{super().key}:{self._number}"

    def journal_input(self) -> bytes:
        return msgspec.json.encode(Journaled(self.subject, self.wanted.SerializeToString()))

    def steps(self) -> Sequence[Step]:
        return [
            Step("checking the limits", self.check),
            Step("changing the limits", self.change, undo=self.restore),
            Step("remembering the limits", self.remember),
        ]

    def result(self) -> None:
        return None

    async def check(self) -> None:
        """What the state, the kernel or the host does not allow is refused before anything is touched."""
        entry = self._entry()
        containers.check_may_change(entry.record)
        self._limits(self._after(entry))
        oom_score_adj(self.wanted.oom_score_adj, self.context.host.oom_score_adj_floor)
        check_memory(self.wanted, entry.record.cgroup, f"container {self.subject[:12]}")

    async def change(self) -> None:
        """The OCI runtime changes most limits; podyard those of huge pages and the processes' oom_score_adj."""
        entry = self._entry()
        after = self._after(entry)
        try:
            await self._apply(entry, self._limits(after))
        except PodyardError as error:
            if entry.ended.is_set():
                raise FailedPrecondition(
                    f"container {self.subject[:12]} ended while its limits were changed"
                ) from error
            raise
        if self.wanted.oom_score_adj:
            await asyncio.to_thread(self._adjust, entry.record.cgroup, after.oom_score_adj)

    async def restore(self) -> None:
        """The limits of the record. A container that has ended has none any more."""
        entry = self.context.store.containers.get(self.subject)
        if entry is None or entry.ended.is_set():
            return
        before = resources.effective(entry.record, entry.config)
        await self._apply(entry, limits.restoring(self._limits(before), self._limits(self._after(entry))))
        if self.wanted.oom_score_adj:
            await asyncio.to_thread(self._adjust, entry.record.cgroup, before.oom_score_adj)

    async def remember(self) -> None:
        """From here on status shows them."""
        entry = self._entry()
        after = self._after(entry)
        self.context.store.save_container(replace(entry.record, resources=after.SerializeToString(deterministic=True)))
        await asyncio.to_thread(self._note_in_bundle, self._limits(after))

    def _entry(self) -> ContainerEntry:
        entry = self.context.store.containers.get(self.subject)
        if entry is None:
            raise NotFound(f"container {self.subject[:12]} was removed before its limits were changed")
        return entry

    def _after(self, entry: ContainerEntry) -> api.LinuxContainerResources:
        return resources.merged(resources.effective(entry.record, entry.config), self.wanted)

    def _limits(self, wanted: api.LinuxContainerResources) -> dict[str, Any]:
        return linux_resources(wanted, self.context.host)

    async def _apply(self, entry: ContainerEntry, changed: dict[str, Any]) -> None:
        file = self.context.paths.bundle(self.subject) / "resources.json"
        file.write_text(json.dumps(changed), encoding="utf-8")
        runtime = self.context.runtime(entry.record.runtime)
        await runtime.update(self.subject, file)
        if runtime.systemd and self.context.host.cgroup_v2:
            await self._limit_scope_swap(limits.scope_swap(changed))
        for name, value in limits.hugepage_files(changed, v2=self.context.host.cgroup_v2).items():
            cgroups.write(entry.record.cgroup, name, value)

    async def _limit_scope_swap(self, swap: str) -> None:
        if not swap:
            return
        scope = f"podyard-{self.subject}.scope"
        argv = ["systemctl", "set-property", "--runtime", scope, f"MemorySwapMax={swap}"]
        done = await process.run(argv, limit=VERB_LIMIT)
        if done.code != 0:
            why = done.stderr.decode(errors="replace").strip()
            raise Internal(f"systemd does not limit the swap of {scope}: {why}")

    def _adjust(self, cgroup: str, value: int) -> None:
        """All processes of a container: children have it from their parents. Twice, for those born meanwhile."""
        allowed = oom_score_adj(value, self.context.host.oom_score_adj_floor)
        for _ in range(2):
            for pid in cgroups.processes(cgroup):
                process.set_oom_score_adj(pid, allowed)

    def _note_in_bundle(self, changed: dict[str, Any]) -> None:
        """Verbose status shows the bundle's spec."""
        file = self.context.paths.bundle(self.subject) / "config.json"
        try:
            spec = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return  # it has ended meanwhile
        spec["linux"].setdefault("resources", {}).update(changed)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(spec), encoding="utf-8")
        new.rename(file)


def check_memory(wanted: api.LinuxContainerResources, cgroup: str, what: str) -> None:
    """Raise FailedPrecondition, with both figures, for a memory limit below what a cgroup needs now.

    The kernel would fail (v1) or kill processes (v2). Cached files do not count: they are dropped.
    """
    limit = wanted.memory_limit_in_bytes
    used = cgroups.memory_in_use(cgroup) if limit > 0 else None
    if used is not None and limit < used:
        raise FailedPrecondition(
            f"{what} uses {used} bytes of memory now, more than the wanted limit of {limit} bytes: "
            "choose a higher limit, or let it give memory back first"
        )
