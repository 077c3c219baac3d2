"""StartContainer."""

from __future__ import annotations

from collections.abc import Sequence

from podyard.errors import Internal, NotFound, PodyardError
from podyard.lifecycle import containers
from podyard.oci.monitor import CREATE_LIMIT
from podyard.oci.runtime import OciRuntime
from podyard.operations import Operation, Step
from podyard.runtime import container_restore
from podyard.runtime.context import Context, now
from podyard.runtime.store import ContainerEntry


class StartContainer(Operation[None]):
    """Let a created container's process become its program, or bring back those of a checkpoint.

    ``repeated``: after a crash, which may have come when all was done, or the container was removed since.
    """

    kind = "StartContainer"
    policy = "finish"

    def __init__(self, context: Context, container_id: str, *, repeated: bool = False) -> None:
        self.context = context
        self.subject = container_id
        self.repeated = repeated
        entry = context.store.containers.get(container_id)
        self.within = entry.record.sandbox_id if entry else ""

    def journal_input(self) -> bytes:
        return self.subject.encode()

    def steps(self) -> Sequence[Step]:
        # A process that is restored has to be made first.
        return [Step("starting the process", self.start, limit=CREATE_LIMIT + 60)]

    def result(self) -> None:
        return None

    async def start(self) -> None:
        """Start it; what cannot be started has exited with StartError. Stands a repetition after a crash."""
        entry = self.context.store.containers.get(self.subject)
        if self.repeated and (entry is None or entry.record.state != "created"):
            return
        if entry is None:
            raise NotFound(f"container {self.subject[:12]} was removed before it was started")
        with entry.starting():
            await self._start(entry)

    async def _start(self, entry: ContainerEntry) -> None:
        containers.check_may_start(entry.record)
        runtime = self.context.runtime(entry.record.runtime)
        began = now()  # before the start: a short process may have ended when it returns
        record = entry.record
        try:
            if containers.is_to_be_restored(record):
                record = await container_restore.restore(self.context, entry)
            elif await runtime.state(self.subject) == "created":
                await self._start_process(runtime)
        except PodyardError as error:
            self.context.store.save_container(containers.start_failed(entry.record, error, now()))
            self.context.watcher.on_exit(self.subject)
            raise
        if record is entry.record:
            self.context.store.save_container(containers.started(record, began))
        else:
            self.context.watcher.watch(self.context.store.save_container(containers.started(record, began)))

    async def _start_process(self, runtime: OciRuntime) -> None:
        """Let the process go on. Raises Internal or NotFound with the OCI runtime's words.

        The OCI runtime that an earlier podyard called outlives it, and may be quicker than the one called now. What
        that one says then differs (crun: there is no pipe any more to write to), so the state decides.
        """
        try:
            await runtime.start(self.subject)
        except (Internal, NotFound):
            if not self.repeated or await runtime.state(self.subject) == "created":
                raise
