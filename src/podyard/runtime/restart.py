"""Reconciling the database with the kernel when the daemon starts: what runs goes on, what is gone is recorded.

Order matters: first the records are brought up to date, so that the journal's operations act on the truth, then the
operations that a crash cut off are undone or finished, then whatever belongs to nobody is swept away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from podyard.errors import PodyardError
from podyard.lifecycle import recovery
from podyard.linux import mounts, namespaces
from podyard.operations import Operation
from podyard.runtime import process
from podyard.runtime.container_checkpoint import CheckpointContainer
from podyard.runtime.container_create import CreateContainer
from podyard.runtime.container_remove import ReapContainer, RemoveContainer
from podyard.runtime.container_restore import RestoreContainer
from podyard.runtime.container_start import StartContainer
from podyard.runtime.container_stop import StopContainer
from podyard.runtime.container_update import UpdateContainerResources
from podyard.runtime.context import Context
from podyard.runtime.sandbox_checkpoint import CheckpointPod
from podyard.runtime.sandbox_restore import RestorePod
from podyard.runtime.sandbox_run import RunPodSandbox
from podyard.runtime.sandbox_stop import RemovePodSandbox, StopPodSandbox
from podyard.runtime.sandbox_update import UpdatePodSandboxResources
from podyard.runtime.store import ContainerEntry, SandboxEntry

logger = logging.getLogger(__name__)


def builders(context: Context) -> dict[str, Callable[[bytes], Operation[Any]]]:
    """How to make each kind of operation again from its journal input."""
    return {
        "RunPodSandbox": lambda data: RunPodSandbox.from_journal(context, data),
        "CreateContainer": lambda data: CreateContainer.from_journal(context, data),
        "RestoreContainer": lambda data: RestoreContainer.from_journal(context, data),
        "StartContainer": lambda data: StartContainer(context, data.decode(), repeated=True),
        "StopContainer": lambda data: StopContainer(context, data.decode(), 0),
        "RemoveContainer": lambda data: RemoveContainer(context, data.decode()),
        "ReapContainer": lambda data: ReapContainer(context, data.decode()),
        "UpdateContainerResources": lambda data: UpdateContainerResources.from_journal(context, data),
        "CheckpointContainer": lambda data: CheckpointContainer.from_journal(context, data),
        "CheckpointPod": lambda data: CheckpointPod.from_journal(context, data),
        "RestorePod": lambda data: RestorePod.from_journal(context, data),
        "UpdatePodSandboxResources": lambda data: UpdatePodSandboxResources.from_journal(context, data),
        "StopPodSandbox": lambda data: StopPodSandbox(context, data.decode()),
        "RemovePodSandbox": lambda data: RemovePodSandbox(context, data.decode()),
    }


async def reconcile(context: Context) -> list[str]:
    """Bring records and host together; what could not be, as text."""
    for container in list(context.store.containers.values()):
        _reconcile_container(context, container)
    for sandbox in list(context.store.sandboxes.values()):
        _reconcile_sandbox(context, sandbox)
    problems = await context.engine.recover(builders(context))
    problems += await _sweep(context)
    return problems


def _reconcile_container(context: Context, entry: ContainerEntry) -> None:
    record = entry.record
    target = record.process
    found = recovery.Found(
        same_boot=record.boot_id == context.boot_id,
        monitor_alive=target is not None and process.is_alive(target.monitor_pid, target.monitor_start_time),
        process_alive=target is not None and process.is_alive(target.pid, target.start_time),
        exit_written=context.monitor.exit_of(record.id) is not None,
    )
    action, why = recovery.decide(record, found)
    logger.debug("container %s: %s %s", record.id[:12], action, why)
    if action == "record exit":
        context.watcher.record_exit(entry)
    elif action == "watch monitor":
        context.watcher.watch(entry)
    elif action == "watch process":
        context.watcher.watch_process(entry, why)
    elif action == "lost":
        context.watcher.record_lost(entry, why)


def _reconcile_sandbox(context: Context, entry: SandboxEntry) -> None:
    """A sandbox stays ready while its pins are there and its infra process lives."""
    record = entry.record
    if not record.ready:
        return
    pins = context.paths.pins(record.id)
    files = list(pins.iterdir()) if pins.exists() else []
    infra = record.infra
    alive = (
        record.boot_id == context.boot_id
        and pins.exists()
        and all(namespaces.is_pinned(file) for file in files)
        and (infra is None or process.is_alive(infra.pid, infra.start_time))
    )
    if not alive:
        logger.warning("sandbox %s has lost its namespaces: it is not ready any more", record.id[:12])
        context.store.save_sandbox(replace(record, ready=False))
    else:
        context.watcher.watch_infra(entry)


async def _sweep(context: Context) -> list[str]:
    """Take away what belongs to no record: what a crash left that not even the journal knows."""
    problems: list[str] = []
    sandboxes, containers = set(context.store.sandboxes), set(context.store.containers)
    for folder in _strangers(context.paths.run / "bundles", sandboxes | containers):
        try:
            await _delete_stranger(context, folder)
        except (PodyardError, OSError) as error:
            problems.append(f"cannot take away {folder}: {error}")
    for base, known in (
        (context.paths.run / "pins", sandboxes),
        (context.paths.run / "sandboxes", sandboxes),
        (context.paths.root / "containers", sandboxes | containers),
    ):
        for folder in _strangers(base, known):
            try:
                await asyncio.to_thread(mounts.remove_tree, folder)
            except OSError as error:
                problems.append(f"cannot take away {folder}: {error}")
    for file in _strangers(context.paths.exits, containers | sandboxes):
        file.unlink(missing_ok=True)
    # An address can be taken back only while its namespace is known to be unused: after the sweep of the pins.
    ready = {entry.record.id for entry in context.store.sandboxes.values() if entry.record.ready}
    return problems + await context.network.gc(ready)


async def _delete_stranger(context: Context, bundle: Path) -> None:
    logger.warning("container %s belongs to nobody: it is taken away", bundle.name[:12])
    target = process.from_bundle(bundle)
    for runtime in context.runtimes.values():
        await process.kill_and_delete(context, runtime, bundle.name, target)
    await asyncio.to_thread(mounts.remove_tree, bundle)


def _strangers(base: Path, known: set[str]) -> list[Path]:
    return [path for path in base.iterdir() if path.name not in known] if base.exists() else []
