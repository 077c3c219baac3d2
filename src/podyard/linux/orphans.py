"""Processes that a tool leaves behind become podyard's own children, not those of process 1 (prctl(2),
PR_SET_CHILD_SUBREAPER): so podyard learns how they ended, and nothing stands between it and them.

Whoever has waited for such a process collects it with ``exit_code``. What nobody waits for is collected by ``Sweeper``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from podyard.linux import libc

PR_SET_CHILD_SUBREAPER = 36

SWEEP_INTERVAL = 60.0
"""Seconds that an ended process must have waited in vain before it is collected."""


def adopt() -> None:
    """From now on the orphans of this process' tools are its children."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def exit_code(pid: int) -> int | None:
    """The exit code of an ended child, which is collected: 128 and the signal where one ended it, as shells have it.

    None when it is not a child of this process (it was made before a restart, say), or has not ended.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def collect_in_namespace_of(pid: int) -> None:
    """Collect the ended children of this process that are in the PID namespace of ``pid``."""
    namespace = _pid_namespace(pid)
    for child in ended_children():
        if namespace is not None and _pid_namespace(child) == namespace:
            exit_code(child)


class Sweeper:
    """Collects orphans that nobody waits for, such as the children of a command in a container with the host's PIDs."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self.sweep()

    def sweep(self) -> None:
        """Collect what had ended at the last sweep already: by now whoever wants to know has asked."""
        ended = ended_children()
        for pid in ended & self._seen:
            exit_code(pid)
        self._seen = ended - self._seen


def ended_children() -> set[int]:
    """The children of this process that have ended and were not collected."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text(encoding="ascii").split():
                if _is_zombie(int(pid)):
                    found.add(int(pid))
    return found


def _pid_namespace(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return None


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"
