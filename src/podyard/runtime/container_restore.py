"""A container whose processes come from a checkpoint: it is made without a process, and its start brings them back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from podyard.errors import FailedPrecondition, Internal, NotFound
from podyard.linux import cgroups, namespaces
from podyard.linux.mounts import remove_tree, unmount_below
from podyard.model.records import Container, Process
from podyard.operations import Step
from podyard.runtime import criu, pod_checkpoint, process
from podyard.runtime.container_create import VOLUME_LIMIT, CreateContainer, make_log
from podyard.runtime.context import Context, now
from podyard.runtime.store import ContainerEntry

COPY_LIMIT = 3600.0
"""Seconds for copying the images of a container's processes and its files."""

CONFIG = "org.criu.config"
"""The annotation by which OCI runtimes know a file with options for CRIU (criu(8), configuration files)."""


class RestoreContainer(CreateContainer):
    """Make a container out of a checkpoint: its files are there, and its start will restore its processes.

    What the start needs is copied, so that the checkpoint may go.
    """

    kind = "RestoreContainer"

    def steps(self) -> Sequence[Step]:
        return [
            Step("copying the checkpoint", self.copy, undo=self.unmount_rootfs, limit=COPY_LIMIT + 60),
            Step("mounting the root file system", self.mount_rootfs, undo=self.unmount_rootfs, limit=VOLUME_LIMIT),
            Step("preparing the volumes", self.prepare_volumes, limit=COPY_LIMIT + VOLUME_LIMIT),
            Step("writing the bundle", self.write_bundle),
            Step("remembering the container", self.remember, undo=self.forget),
        ]

    async def copy(self) -> None:
        """The images of the processes, and the writable layer."""
        writable = self.context.paths.writable(self.subject)
        images(writable).parent.mkdir(mode=0o700, parents=True)
        writable.chmod(0o755)
        await pod_checkpoint.copy(self._saved / "images", images(writable), limit=COPY_LIMIT)
        await pod_checkpoint.copy(self._saved / "upper", writable / "upper", limit=COPY_LIMIT)

    async def prepare_volumes(self) -> None:
        """As for any container; those that the image declares have what they had."""
        await super().prepare_volumes()
        saved, volumes = self._saved / "volumes", self.context.paths.writable(self.subject) / "volumes"
        if saved.exists():
            await asyncio.to_thread(remove_tree, volumes)
            await pod_checkpoint.copy(saved, volumes, limit=COPY_LIMIT)

    async def write_bundle(self) -> None:
        """CRIU would make new IPC and UTS namespaces: it is told to join the pod's, as other containers do."""
        await super().write_bundle()
        options = self.bundle / "criu.conf"
        pins = self.context.paths.pins(self.within)
        joined = [f"join-ns {kind}:{pins / kind}\n" for kind in ("ipc", "uts") if (pins / kind).exists()]
        options.write_text("".join(joined), encoding="utf-8")
        spec = json.loads((self.bundle / "config.json").read_text(encoding="utf-8"))
        spec.setdefault("annotations", {})[CONFIG] = str(options)
        process.write_bundle(self.bundle, spec)

    async def remember(self) -> None:
        """From here on the container exists; there is no process to watch."""
        self.context.store.save_container(replace(self.container, created_at=now()))

    @property
    def _saved(self) -> Path:
        return Path(self.container.restored_from)


def images(writable: Path) -> Path:
    """Where a container's own copy of CRIU's images is until it is started."""
    return writable / "checkpoint" / "images"


async def restore(context: Context, entry: ContainerEntry) -> Container:
    """Let the OCI runtime and CRIU bring back a container's processes; its record with them. They run at once.

    Stands a repetition after a crash. Raises FailedPrecondition with CRIU's reason.
    """
    record = entry.record
    bundle, writable = context.paths.bundle(record.id), context.paths.writable(record.id)
    made = await _running(context, record) or await _restored(context, entry)
    sandbox = context.store.sandbox(record.sandbox_id).config
    uts = context.paths.pins(record.sandbox_id) / "uts"
    if uts.exists() and sandbox.hostname:
        # CRIU has given it the name that it had.
        await asyncio.to_thread(namespaces.set_hostname, uts, sandbox.hostname)
    await asyncio.to_thread(unmount_below, bundle / "mounts")
    await asyncio.to_thread(remove_tree, images(writable).parent)
    try:
        cgroup = cgroups.of_process(made.pid)
    except (FileNotFoundError, ProcessLookupError):
        cgroup = ""  # it has ended already
    return replace(record, process=made, cgroup=cgroup)


async def _running(context: Context, record: Container) -> Process | None:
    """The processes that were restored before a crash; what has no monitor or was restored in part is taken away."""
    runtime = context.runtime(record.runtime)
    try:
        state = await runtime.state(record.id)
    except NotFound:
        return None
    found = process.from_bundle(context.paths.bundle(record.id))
    if state == "running" and found is not None and process.is_alive(found.monitor_pid, found.monitor_start_time):
        return found
    await process.kill_and_delete(context, runtime, record.id, found)
    return None


async def _restored(context: Context, entry: ContainerEntry) -> Process:
    record, config = entry.record, entry.config
    bundle = context.paths.bundle(record.id)
    log_path = Path(record.log_path) if record.log_path else None
    if log_path is not None:
        await asyncio.to_thread(make_log, log_path)
    try:
        return await context.monitor.create(
            record.id,
            bundle,
            context.runtime(record.runtime),
            log_path=log_path,
            tty=config.tty,
            stdin=config.stdin,
            stdin_once=config.stdin_once,
            restore=images(context.paths.writable(record.id)),
        )
    except Internal as error:
        reason = criu.last_errors(bundle / "restore.log")
        raise FailedPrecondition(
            f"container {record.id[:12]} cannot be restored on this host: {error}{reason}"
        ) from error
