"""StopContainer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from podyard.lifecycle import containers, signals
from podyard.operations import Operation, Step
from podyard.runtime import process
from podyard.runtime.context import Context, now

LONGEST = 10 * 365 * 24 * 3600.0
"""Seconds that a grace period can have: what is more is cut to this."""


class StopContainer(Operation[None]):
    """Ask a container's process to end; kill it when its time is over.

    ``timeout``: seconds between the stop signal and SIGKILL; with 0 there is only SIGKILL. ``hurry`` shortens what is
    left of it while the operation runs.
    """

    kind = "StopContainer"
    policy = "finish"

    def __init__(self, context: Context, container_id: str, timeout: float) -> None:
        self.context = context
        self.subject = container_id
        self.entry = context.store.containers.get(container_id)
        self.within = self.entry.record.sandbox_id if self.entry else ""
        self._deadline = asyncio.get_running_loop().time() + min(max(timeout, 0.0), LONGEST)
        self._hurried = asyncio.Event()

    def hurry(self, timeout: float) -> None:
        """Let no more than ``timeout`` seconds pass from now on; a longer time than what is left changes nothing."""
        wanted = asyncio.get_running_loop().time() + max(timeout, 0.0)
        if wanted < self._deadline:
            self._deadline = wanted
            self._hurried.set()

    def journal_input(self) -> bytes:
        # After a crash nobody waits for a grace period any more: the kubelet asks again with what is left of it.
        return self.subject.encode()

    def steps(self) -> Sequence[Step]:
        return [
            Step("waiting for it to end after the stop signal", self.ask, limit=LONGEST + 60),
            Step("killing it", self.kill),
        ]

    def result(self) -> None:
        return None

    async def ask(self) -> None:
        """Send the stop signal and wait for the end, as long as there is time."""
        entry = self.entry
        loop = asyncio.get_running_loop()
        if entry is None or entry.record.process is None or entry.ended.is_set() or self._deadline <= loop.time():
            return
        # A process that was created but not started does not see signals: it is killed at once.
        if entry.record.state == "created":
            return
        process.send_signal(entry.record.process, signals.number(entry.record.stop_signal))
        ended = asyncio.create_task(entry.ended.wait())
        try:
            while not ended.done() and (left := self._deadline - loop.time()) > 0:
                self._hurried.clear()
                hurried = asyncio.create_task(self._hurried.wait())
                await asyncio.wait({ended, hurried}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                hurried.cancel()
        finally:
            ended.cancel()

    async def kill(self) -> None:
        """Kill what has not ended and wait until its end is recorded."""
        entry = self.entry
        if entry is not None and containers.is_to_be_restored(entry.record):
            never = containers.exited(entry.record, containers.SIGKILL_EXIT, now(), oom_killed=False)
            self.context.store.save_container(never)
            self.context.watcher.on_exit(self.subject)
        if entry is None or entry.record.process is None:
            return
        if not entry.ended.is_set():
            process.send_signal(entry.record.process, signal.SIGKILL)
            await process.await_report(entry.record.process, entry.ended, self.subject)
        await process.kill_stragglers(entry.record.cgroup)
