"""CheckpointPod."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from podyard.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound, PodyardError
from podyard.lifecycle import containers
from podyard.linux import mounts, process
from podyard.operations import Operation, Step
from podyard.runtime import criu, pod_checkpoint
from podyard.runtime.context import Context
from podyard.runtime.pod_checkpoint import SavedContainer, SavedPod
from podyard.runtime.store import ContainerEntry, SandboxEntry, Store

UNDO_LIMIT = 60.0
"""Seconds that undoing gets beside a step's own time."""


class Journaled(msgspec.Struct, frozen=True):
    """What a pod's checkpoint needs to be undone after a crash."""

    id: str
    output: str
    containers: tuple[str, ...]


def chosen(store: Store, sandbox: SandboxEntry, wanted: Sequence[str]) -> list[ContainerEntry]:
    """The containers to save: those that the request names, or all that run.

    Raises NotFound, InvalidArgument for one that is another sandbox's or named twice, FailedPrecondition for one that
    does not run, or where none does.
    """
    if not wanted:
        entries = [entry for entry in store.containers_of(sandbox.record.id) if entry.record.state == "running"]
        if not entries:
            raise FailedPrecondition(f"no container of sandbox {sandbox.record.id[:12]} runs: there is nothing to save")
        return entries
    entries = [store.container(container_id) for container_id in wanted]
    for entry in entries:
        if entry.record.sandbox_id != sandbox.record.id:
            raise InvalidArgument(f"container {entry.record.id[:12]} is not in sandbox {sandbox.record.id[:12]}")
        containers.check_is_running(entry.record)
    names = [entry.config.metadata.name for entry in entries]
    if len(set(names)) != len(names):
        raise InvalidArgument(f"container_ids name a container twice: {', '.join(sorted(names))}")
    return entries


class CheckpointPod(Operation[None]):
    """Save the processes and files of a pod's containers as they are at one moment. The pod goes on.

    All processes are held until all are saved, and their files are copied; nothing is written outside of ``output``.

    ``limit``: seconds, after which all is undone.
    """

    kind = "CheckpointPod"
    policy = "undo"

    def __init__(
        self, context: Context, sandbox_id: str, output: Path, container_ids: Sequence[str], limit: float
    ) -> None:
        self.context = context
        self.subject = sandbox_id
        self.output = output
        self.container_ids = tuple(container_ids)
        self.limit = limit
        self._deadline = time.monotonic() + limit

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> CheckpointPod:
        """The operation again, after a crash: only ever to be undone."""
        found = msgspec.json.decode(data, type=Journaled)
        return cls(context, found.id, Path(found.output), found.containers, 0)

    @property
    def fingerprint(self) -> bytes:
        return self.journal_input()

    def journal_input(self) -> bytes:
        return msgspec.json.encode(Journaled(self.subject, str(self.output), self.container_ids))

    def steps(self) -> Sequence[Step]:
        # What a step waits for has the limit; the step's own leaves time to kill it, and to undo.
        limit = self.limit + UNDO_LIMIT
        return [
            Step("preparing the directory", self.prepare, undo=self.discard, limit=limit),
            Step("holding the processes", self.hold, undo=self.let_go, limit=limit),
            Step("saving the processes", self.save, limit=limit),
            Step("copying the files", self.copy_files, limit=limit),
            Step("letting the processes go on", self.let_go, limit=limit),
            Step("completing the checkpoint", self.complete, limit=limit),
        ]

    def result(self) -> None:
        return None

    async def prepare(self) -> None:
        """One directory for each container, closed to others: what was in memory may be secret."""
        (self.output / self.subject).mkdir(mode=0o700)
        for container_id in self.container_ids:
            self._folder(container_id).mkdir(mode=0o700)

    async def discard(self) -> None:
        """Remove what was written, unless it is a complete checkpoint."""
        try:
            complete = pod_checkpoint.read(str(self.output)).id == self.subject
        except PodyardError:
            complete = False
        if not complete:
            await asyncio.to_thread(mounts.remove_tree, self.output / self.subject)

    async def hold(self) -> None:
        """Let none of them run, so that what they have told each other is told on both sides, or on none."""
        await self._for_each(self._hold)

    async def _hold(self, entry: ContainerEntry) -> None:
        containers.check_is_running(entry.record)
        try:
            await self.context.runtime(entry.record.runtime).pause(entry.record.id)
        except PodyardError as error:
            if entry.ended.is_set():
                raise FailedPrecondition(f"container {entry.record.id[:12]} ended before it was saved") from error
            raise

    async def let_go(self) -> None:
        """Let the processes run again."""
        await _all(criu.let_go(self.context, container_id) for container_id in self.container_ids)

    async def save(self) -> None:
        """CRIU's images of the processes."""
        await self._for_each(self._save)

    async def _save(self, entry: ContainerEntry) -> None:
        folder = self._folder(entry.record.id)
        await criu.save(self.context, entry, folder / "images", folder, limit=self._left())

    async def copy_files(self) -> None:
        """The writable layers, the volumes of the images, and the pod's /dev/shm, as the held processes see them."""
        for container_id in self.container_ids:
            await self._copy(self.context.paths.writable(container_id), self._folder(container_id), "upper", "volumes")
        await self._copy(self.context.paths.sandbox(self.subject), self.output / self.subject, "shm")

    async def _copy(self, source: Path, target: Path, *names: str) -> None:
        for name in names:
            if (source / name).exists():
                await pod_checkpoint.copy(source / name, target / name, limit=self._left())

    async def complete(self) -> None:
        """Everything on the disk, then the manifest: after a power cut the checkpoint is whole or not there."""
        sandbox = self.context.store.sandbox(self.subject)
        entries = self._entries()
        done = await process.run(["sync", "--file-system", str(self.output / self.subject)], limit=self._left())
        if done.code != 0:
            raise Internal(f"cannot write {self.output} to its disk: {done.stderr.decode(errors='replace').strip()}")
        saved = SavedPod(
            format=pod_checkpoint.FORMAT,
            id=self.subject,
            runtime=sandbox.record.runtime,
            config=sandbox.record.config,
            containers=tuple(
                SavedContainer(
                    id=entry.record.id,
                    name=entry.config.metadata.name,
                    image_id=entry.record.image_id,
                    config=entry.record.config,
                )
                for entry in entries
            ),
        )
        await asyncio.to_thread(pod_checkpoint.write, self.output, saved)

    async def _for_each(self, action: Callable[[ContainerEntry], Awaitable[None]]) -> None:
        await _all(action(entry) for entry in self._entries())

    def _entries(self) -> list[ContainerEntry]:
        found = [self.context.store.containers.get(container_id) for container_id in self.container_ids]
        entries = [entry for entry in found if entry is not None]
        if len(entries) < len(found):
            raise NotFound(f"a container of sandbox {self.subject[:12]} was removed before it was checkpointed")
        return entries

    def _folder(self, container_id: str) -> Path:
        return self.output / self.subject / container_id

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"the checkpoint of sandbox {self.subject[:12]} took longer than {self.limit:g} s")
        return left


async def _all(actions: Iterable[Awaitable[None]]) -> None:
    """Wait for all; the first error is raised when all have ended."""
    outcomes = await asyncio.gather(*actions, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise failures[0]
