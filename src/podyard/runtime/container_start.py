"""StartContainer."""

from __future__ import annotations

from collections.abc import Sequence

from podyard.errors import NotFound, PodyardError
from podyard.lifecycle import containers
from podyard.operations import Operation, Step
from podyard.runtime.context import Context, now
from podyard.runtime.store import ContainerEntry


class StartContainer(Operation[None]):
    """Let a created container's process become its program."""

    kind = "StartContainer"
    policy = "finish"

    def __init__(self, context: Context, container_id: str) -> None:
        self.context = context
        self.subject = container_id
        entry = context.store.containers.get(container_id)
        self.within = entry.record.sandbox_id if entry else ""

    def journal_input(self) -> bytes:
        return self.subject.encode()

    def steps(self) -> Sequence[Step]:
        return [Step("starting the process", self.start)]

    def result(self) -> None:
        return None

    async def start(self) -> None:
        """Start it; what cannot be started has exited with StartError. Stands a repetition after a crash."""
        entry = self.context.store.containers.get(self.subject)
        if entry is None:
            raise NotFound(f"container {self.subject[:12]} was removed before it was started")
        with entry.starting():
            await self._start(entry)

    async def _start(self, entry: ContainerEntry) -> None:
        containers.check_may_start(entry.record)
        runtime = self.context.runtime(entry.record.runtime)
        began = now()  # before the start: a short process may have ended when it returns
        try:
            if await runtime.state(self.subject) == "created":
                await runtime.start(self.subject)
        except PodyardError as error:
            self.context.store.save_container(containers.start_failed(entry.record, error, now()))
            self.context.watcher.on_exit(self.subject)
            raise
        self.context.store.save_container(containers.started(entry.record, began))
