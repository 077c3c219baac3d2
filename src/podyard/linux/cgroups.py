"""Control groups on v2, v1 and hybrid hosts (cgroups(7), kernel documentation cgroup-v1 and cgroup-v2).

A cgroup is named by its path from the hierarchy's root ("/podyard/0123"). The OCI runtime makes the cgroups of
containers; here they are read, emptied and removed.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from functools import lru_cache
from pathlib import Path

from podyard.errors import DeadlineExceeded

ROOT = Path("/sys/fs/cgroup")

KILL_RETRIES = 20
"""How often to count again when processes are killed while they are counted."""

KILL_PATIENCE = 10.0
"""Seconds that killed processes get to disappear: one that the kernel holds in a call may never go."""

REMOVE_PATIENCE = 2.0
"""Seconds that an empty cgroup may stay busy."""


@lru_cache(maxsize=1)
def is_v2() -> bool:
    """Whether the host has only the v2 hierarchy ("unified")."""
    return (ROOT / "cgroup.controllers").exists()


@lru_cache(maxsize=1)
def hierarchies() -> tuple[Path, ...]:
    """The mount points of all hierarchies: one on v2; on v1 one a controller (hybrid: and the v2 tree)."""
    if is_v2():
        return (ROOT,)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split(" ")
            if fields[fields.index("-") + 1] in {"cgroup", "cgroup2"}:
                found.append(Path(fields[4]))
    return tuple(dict.fromkeys(found))


def of_process(pid: int) -> str:
    """The cgroup of a process: its only one on v2, the memory controller's on v1. Raises OSError if it is gone."""
    wanted = ""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") or (is_v2() and not controllers):
            wanted = path
    return wanted


def of_slice(name: str) -> str:
    """The cgroup of a systemd slice (systemd.slice(5)): a-b.slice is in a.slice."""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def oom_kills(cgroup: str) -> int:
    """How many processes of the cgroup the kernel killed for want of memory; 0 when it cannot be read."""
    path = ROOT / cgroup.lstrip("/") / "memory.events" if is_v2() else _v1("memory", cgroup) / "memory.oom_control"
    return _keyed(path).get("oom_kill", 0)


def lost_oom_kills(cgroup: str) -> int:
    """How many of a v2 cgroup's OOM kills were in cgroups below it that are gone; 0 when it cannot be read."""
    lost = 0
    total = oom_kills(cgroup)
    # While more are killed, the counts that are read one after another do not belong together.
    for _ in range(KILL_RETRIES if total else 0):
        before = total
        try:
            with os.scandir(ROOT / cgroup.lstrip("/")) as entries:
                below = [f"{cgroup}/{entry.name}" for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return 0
        lost = max(before - sum(oom_kills(child) for child in below), 0)
        total = oom_kills(cgroup)
        if total == before:
            break
    return lost


def exists(cgroup: str) -> bool:
    """Whether a cgroup is there, in the hierarchy that counts memory."""
    return (ROOT / cgroup.lstrip("/") if is_v2() else _v1("memory", cgroup)).is_dir()


def identity(cgroup: str) -> int | None:
    """What tells a cgroup from another one that had its name before; None when it is not there."""
    try:
        return (ROOT / cgroup.lstrip("/") if is_v2() else _v1("memory", cgroup)).stat().st_ino
    except FileNotFoundError:
        return None


def memory_current(cgroup: str) -> int | None:
    """Bytes of memory that the cgroup uses now; None when it cannot be read."""
    name = "memory.current" if is_v2() else "memory.usage_in_bytes"
    folder = ROOT / cgroup.lstrip("/") if is_v2() else _v1("memory", cgroup)
    try:
        return int((folder / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def memory_in_use(cgroup: str) -> int | None:
    """Bytes of memory that the kernel cannot take back by dropping cached files; None when it cannot be read."""
    usage = memory_current(cgroup)
    folder = ROOT / cgroup.lstrip("/") if is_v2() else _v1("memory", cgroup)
    stat = _keyed(folder / "memory.stat")
    prefix = "" if is_v2() else "total_"
    cached = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0)
    return None if usage is None else max(usage - cached, 0)


def write(cgroup: str, name: str, value: str) -> None:
    """Write a file of a cgroup, such as "cpu.shares": its controller stands before the dot. Raises OSError."""
    _file(cgroup, name).write_text(value, encoding="ascii")


def make(cgroup: str, controllers: set[str]) -> None:
    """Make a cgroup with those controllers, where it is not there. Raises OSError.

    On v2 they are passed down from the root (cgroup-v2, cgroup.subtree_control).
    """
    if not is_v2():
        for controller in controllers:
            _v1(controller, cgroup).mkdir(parents=True, exist_ok=True)
        return
    folder = ROOT
    for part in cgroup.strip("/").split("/"):
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(controllers)))
        folder /= part
        folder.mkdir(exist_ok=True)


def processes(cgroup: str) -> list[int]:
    """The processes of a cgroup and of those below it."""
    found: set[int] = set()
    for base in hierarchies():
        for folder, _, names in os.walk(base / cgroup.lstrip("/")):
            if "cgroup.procs" in names:
                found.update(_pids(Path(folder, "cgroup.procs")))
    return sorted(found)


def kill(cgroup: str) -> None:
    """Kill every process of a cgroup and of those below it, and wait until they are gone. Blocks: call it in a thread.

    Raises DeadlineExceeded, naming the process and where the kernel holds it, when one does not go.
    """
    deadline = time.monotonic() + KILL_PATIENCE
    while left := processes(cgroup):
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"process {left[0]} of cgroup {cgroup} is still there {KILL_PATIENCE:g} s after SIGKILL; "
                f"the kernel holds it in {waits_in(left[0])}"
            )
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)


def remove(cgroup: str) -> None:
    """Remove an empty cgroup and those below it, in every hierarchy. What is not there is fine. Blocks, like ``kill``.

    A cgroup stays busy for a moment after its last process has ended; REMOVE_PATIENCE bounds that.

    Raises OSError (EBUSY) for one that has processes.
    """
    if cgroup.strip("/") == "":
        return
    deadline = time.monotonic() + REMOVE_PATIENCE
    for base in hierarchies():
        for folder, _, _ in os.walk(base / cgroup.lstrip("/"), topdown=False):
            while not _removed(Path(folder), deadline):
                time.sleep(0.005)


def _removed(folder: Path, deadline: float) -> bool:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno == errno.EBUSY and time.monotonic() < deadline:
            return False
        if error.errno != errno.ENOENT:
            raise
    return True


def remove_if_empty(cgroup: str) -> None:
    """Remove a cgroup, in every hierarchy, unless it has processes or others below it."""
    for base in hierarchies():
        try:
            (base / cgroup.lstrip("/")).rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY}:
                raise


def waits_in(pid: int) -> str:
    """The kernel function in which a process waits, for a message; "an unknown place" where it cannot be read."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text(encoding="ascii").strip("\0") or "an unknown place"
    except OSError:
        return "an unknown place"


def _v1(controller: str, cgroup: str) -> Path:
    return ROOT / controller / cgroup.lstrip("/")


def _file(cgroup: str, name: str) -> Path:
    return ROOT / cgroup.lstrip("/") / name if is_v2() else _v1(name.partition(".")[0], cgroup) / name


def _keyed(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(" ") for line in lines) if value.isdigit()}


def _pids(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text(encoding="ascii").split()]
    except OSError:
        return []
