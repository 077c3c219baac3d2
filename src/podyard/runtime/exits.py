"""What happens when a process ends: containers become exited, sandboxes lose their infra process.

A container's monitor ends right after it has written the exit file, so one pidfd a container tells all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from msgspec.structs import replace

from podyard.lifecycle import containers
from podyard.linux import orphans, process
from podyard.model.records import Container
from podyard.oci.monitor import Monitor
from podyard.runtime.oom import OomKills
from podyard.runtime.store import ContainerEntry, SandboxEntry, Store

logger = logging.getLogger(__name__)


class Watcher:
    """Watches processes and records their ends. ``on_exit`` is called with the id of each container that has ended."""

    def __init__(self, store: Store, monitor: Monitor, oom_kills: OomKills) -> None:
        self._store = store
        self._monitor = monitor
        self._oom_kills = oom_kills
        self.on_exit: Callable[[str], None] = lambda container_id: None

    def watch(self, entry: ContainerEntry) -> None:
        """Watch a container through its monitor."""
        target = entry.record.process
        assert target is not None
        self._oom_kills.watch(entry.record.cgroup)
        _call_at_end(
            target.monitor_pid,
            target.monitor_start_time,
            lambda _: entry.unless_starting(lambda: self._monitor_ended(entry)),
        )

    def watch_process(self, entry: ContainerEntry, why: str) -> None:
        """Watch a container whose monitor is gone: its exit code is known only if it has become podyard's child."""
        target = entry.record.process
        assert target is not None
        _call_at_end(
            target.pid,
            target.start_time,
            lambda code: entry.unless_starting(lambda: self._process_ended(entry, code, why)),
        )

    def watch_infra(self, entry: SandboxEntry) -> None:
        """Watch a sandbox's infra process, where it has one: the sandbox is not ready without it."""
        infra = entry.record.infra
        if infra is not None:
            _call_at_end(infra.pid, infra.start_time, lambda _: self._infra_ended(entry))

    def record_exit(self, entry: ContainerEntry) -> bool:
        """Record the exit that the monitor has written; False when it has not."""
        written = self._monitor.exit_of(entry.record.id)
        if written is None:
            return False
        code, at = written
        # Read now: the counter goes with the cgroup.
        oom_killed = self._oom_kills.ended(entry, code)
        self._save(entry, containers.exited(entry.record, code, at, oom_killed=oom_killed))
        return True

    def _monitor_ended(self, entry: ContainerEntry) -> None:
        if entry.record.id not in self._store.containers or self.record_exit(entry):
            return
        why = "its monitor was killed; its output and exit code from then on are lost"
        logger.warning("container %s: %s", entry.record.id[:12], why)
        self.watch_process(entry, why)

    def _process_ended(self, entry: ContainerEntry, code: int | None, why: str) -> None:
        if code is None or entry.record.id not in self._store.containers:
            self.record_lost(entry, why)
            return
        oom_killed = self._oom_kills.ended(entry, code)
        ended = containers.exited(entry.record, code, time.time_ns(), oom_killed=oom_killed)
        self._save(entry, replace(ended, message=why))

    def record_lost(self, entry: ContainerEntry, why: str) -> None:
        """Record that a container has ended in a way that nobody saw."""
        if entry.record.id in self._store.containers:
            self._save(entry, containers.lost(entry.record, time.time_ns(), why))

    def _infra_ended(self, entry: SandboxEntry) -> None:
        if entry.record.id in self._store.sandboxes and entry.record.ready:
            logger.warning("the infra process of sandbox %s has ended", entry.record.id[:12])
            self._store.save_sandbox(replace(entry.record, ready=False))

    def _save(self, entry: ContainerEntry, record: Container) -> None:
        if entry.record.state == "exited":
            return
        self._store.save_container(record)
        logger.info("container %s has ended: %s, exit code %d", record.id[:12], record.reason, record.exit_code)
        self.on_exit(record.id)


def _call_at_end(pid: int, start_time: int, callback: Callable[[int | None], None]) -> None:
    """Call back once when a process has ended, with its exit code if it was podyard's child; soon, when it is gone."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = process.open_pidfd(pid)
    except ProcessLookupError:
        loop.call_soon(callback, None)
        return
    if start_time == 0 or process.start_time(pid) != start_time:
        os.close(descriptor)
        loop.call_soon(callback, orphans.exit_code(pid))
        return
    process.watch(descriptor, lambda: callback(orphans.exit_code(pid)))
