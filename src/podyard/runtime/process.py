"""Making, ending and deleting the process of a container or of a sandbox's infra process.

The bundle (``config.json`` and its root file system) is the caller's; everything here is idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from podyard.errors import Internal, PodyardError
from podyard.linux import cgroups, orphans, process
from podyard.model.records import Process
from podyard.oci.runtime import OciRuntime
from podyard.operations import stage
from podyard.runtime.context import Context

COLLECT_INTERVAL = 0.5
"""Seconds in which whoever waits for a command that has ended has collected it."""

EXIT_PATIENCE = 20.0
"""Seconds for conmon to report the end of a process that was killed."""


def write_bundle(bundle: Path, spec: dict[str, Any]) -> None:
    """Write a bundle's config.json (OCI runtime spec, bundle.md)."""
    bundle.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Environment variables may be secrets, and the bundle of a pod with a user namespace is not closed to others.
    descriptor = os.open(bundle / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(spec, file)


def is_alive(pid: int, start_time: int) -> bool:
    """Whether this very process runs, not another one under its number."""
    return start_time != 0 and process.start_time(pid) == start_time


def send_signal(target: Process, number: int) -> bool:
    """Signal a first process; False when it is not there any more."""
    try:
        descriptor = process.open_pidfd(target.pid)
    except ProcessLookupError:
        return False
    try:
        # Checked after the pidfd is open: from here on the number cannot be given to another process.
        if not is_alive(target.pid, target.start_time):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


async def kill_and_delete(context: Context, runtime: OciRuntime, owner_id: str, target: Process | None) -> None:
    """End a container's processes, whatever state they are in, and let its OCI runtime and its monitor forget it.

    Raises DeadlineExceeded, naming the process, when the kernel does not let go of one, Internal with the OCI runtime's
    words when it cannot forget the container.
    """
    target = target or from_bundle(context.paths.bundle(owner_id))
    if target is not None:
        with stage("killing"):
            send_signal(target, signal.SIGKILL)
            await _await_end(target, owner_id)
    with stage("deleting it from the OCI runtime"):
        await runtime.delete(owner_id)
    if target is not None:
        await _end_monitor(target)
    context.monitor.forget(owner_id)


async def kill_stragglers(cgroup: str) -> None:
    """Kill what is left in a container's cgroup: in a shared PID namespace children outlive their first process."""
    if cgroup.strip("/") and cgroups.processes(cgroup):
        with stage("killing the processes that are left"):
            await asyncio.to_thread(cgroups.kill, cgroup)


def from_bundle(bundle: Path) -> Process | None:
    """The process whose numbers conmon wrote into a bundle, where it did: what a crash left half-made."""
    try:
        pid = int((bundle / "pid").read_text(encoding="ascii"))
        monitor_pid = int((bundle / "monitor-pid").read_text(encoding="ascii"))
        written = (bundle / "pid").stat().st_mtime
    except (OSError, ValueError):
        return None
    # A process that began after the file was written has only inherited the number.
    start = process.start_time(pid)
    monitor_start = process.start_time(monitor_pid)
    ticks = os.sysconf("SC_CLK_TCK")
    booted = _boot_time()
    if start and booted + start / ticks > written + 1:
        start = 0
    if monitor_start and booted + monitor_start / ticks > written + 1:
        monitor_start = 0
    return Process(pid=pid, start_time=start, monitor_pid=monitor_pid, monitor_start_time=monitor_start)


@contextlib.asynccontextmanager
async def collecting(target: Process) -> AsyncIterator[None]:
    """While the end of a killed first process is waited for: collect what holds it up.

    The kernel lets go of it when nothing is left in its PID namespace (pid_namespaces(7)), and an OCI runtime that
    cannot start a command in a container may leave podyard an ended child there.
    """

    async def collect() -> None:
        while True:
            await asyncio.sleep(COLLECT_INTERVAL)
            if is_alive(target.pid, target.start_time):
                orphans.collect_in_namespace_of(target.pid)

    collector = asyncio.create_task(collect())
    try:
        yield
    finally:
        collector.cancel()


async def await_report(target: Process, reported: asyncio.Event, owner_id: str) -> None:
    """Wait until the end of a first process that was killed is recorded (``reported``).

    A monitor that hangs, on the disk of the log say, is killed: then podyard records the end itself.

    Raises Internal, naming the process, when the kernel does not let go of it or of the monitor.
    """
    async with collecting(target):
        if await _happens(reported):
            return
    await _await_end(target, owner_id)
    if is_alive(target.monitor_pid, target.monitor_start_time):
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.monitor_pid, signal.SIGKILL)
    if not await _happens(reported):
        raise Internal(
            f"the monitor of {owner_id[:12]}, process {target.monitor_pid}, does not report that it has ended; "
            f"the kernel holds it in {cgroups.waits_in(target.monitor_pid)}"
        )


async def _happens(event: asyncio.Event) -> bool:
    """Whether an event comes within EXIT_PATIENCE."""
    try:
        async with asyncio.timeout(EXIT_PATIENCE):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _await_end(target: Process, owner_id: str) -> None:
    if not is_alive(target.pid, target.start_time):
        return
    try:
        async with collecting(target), asyncio.timeout(cgroups.KILL_PATIENCE):
            await process.ended(target.pid)
    except TimeoutError:
        raise Internal(
            f"process {target.pid} of {owner_id[:12]} is still there {cgroups.KILL_PATIENCE:g} s after SIGKILL; "
            f"the kernel holds it in {cgroups.waits_in(target.pid)}"
        ) from None


async def _end_monitor(target: Process) -> None:
    """Wait for conmon to end by itself; kill it where it does not. Collect what is left of it."""
    if is_alive(target.monitor_pid, target.monitor_start_time):
        try:
            async with asyncio.timeout(EXIT_PATIENCE):
                await process.ended(target.monitor_pid)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target.monitor_pid, signal.SIGKILL)
    orphans.exit_code(target.monitor_pid)


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise PodyardError("/proc/stat does not tell when the host was booted")
