"""RemoveContainer, and what is taken away as soon as a container has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podyard.linux import mounts
from podyard.operations import Operation, Step
from podyard.runtime import process
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.context import Context


class ReapContainer(Operation[None]):
    """Give back what an ended container holds: processes, cgroup, monitor, the mount of its root file system."""

    kind = "ReapContainer"
    policy = "finish"

    def __init__(self, context: Context, container_id: str) -> None:
        self.context = context
        self.subject = container_id
        self.entry = context.store.containers.get(container_id)
        self.within = self.entry.record.sandbox_id if self.entry else ""

    def journal_input(self) -> bytes:
        return self.subject.encode()

    def steps(self) -> Sequence[Step]:
        return [
            Step("killing the processes that are left", self.kill_stragglers),
            Step("deleting the process", self.delete_process),
            Step("unmounting the root file system and the volumes", self.unmount),
        ]

    def result(self) -> None:
        return None

    async def kill_stragglers(self) -> None:
        """In a shared PID namespace children outlive the first process."""
        if self.entry is not None:
            await process.kill_stragglers(self.entry.record.cgroup)

    async def delete_process(self) -> None:
        """Let the OCI runtime and conmon forget it."""
        if self.entry is None:
            return
        record = self.entry.record
        target = record.process if record.boot_id == self.context.boot_id else None
        await process.kill_and_delete(self.context, self.context.runtime(record.runtime), self.subject, target)

    async def unmount(self) -> None:
        """What it wrote stays until the container is removed."""
        await asyncio.to_thread(mounts.unmount_below, self.context.paths.bundle(self.subject))


class RemoveContainer(ReapContainer):
    """Stop a container if it runs, and take away all that there is of it but its log."""

    kind = "RemoveContainer"

    def steps(self) -> Sequence[Step]:
        return [
            Step("stopping it", self.stop),
            *super().steps(),
            Step("removing its files", self.remove_files, needs_all=True),
            Step("forgetting it", self.forget, needs_all=True),
        ]

    async def stop(self) -> None:
        """Kill it; it had its chance to end by itself in StopContainer."""
        if self.entry is not None and self.entry.record.state != "exited":
            await self.context.engine.run(StopContainer(self.context, self.subject, 0), parent=self)

    async def remove_files(self) -> None:
        """The bundle and the writable layer."""
        await asyncio.to_thread(mounts.remove_tree, self.context.paths.bundle(self.subject))
        await asyncio.to_thread(mounts.remove_tree, self.context.paths.writable(self.subject))

    async def forget(self) -> None:
        """From here on the container does not exist."""
        self.context.store.delete_container(self.subject)
        await self.context.images.release()
