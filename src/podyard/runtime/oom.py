"""Whether a container was ended by the kernel for want of memory, also where its cgroup went with its last process.

A systemd scope is removed as soon as it is empty, and its count of kills with it, often before anybody could read it;
conmon's own watch is late as often. But on cgroup v2 a kill counts in every cgroup above, too (kernel documentation,
cgroup-v2, memory.events): what a parent has counted and none of its children that are left, happened in those that are
gone.
"""

from __future__ import annotations

from podyard.linux import cgroups
from podyard.runtime.store import ContainerEntry, Store

KILLED = 137
"""The exit code of a process that SIGKILL has ended."""

MANY = 1000
"""Parents that are remembered before those are forgotten that are gone: a kubelet makes one for each pod."""


class OomKills:
    """Tells which ends are the kernel's. ``watch`` must be called while the container's cgroup is there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._explained: dict[str, int] = {}

    def watch(self, cgroup: str) -> None:
        """Remember what has been lost under a container's parent before it ended."""
        parent = _above(cgroup)
        if not cgroups.is_v2() or not parent or parent in self._explained:
            return
        if len(self._explained) >= MANY:
            self._explained = {known: kills for known, kills in self._explained.items() if cgroups.exists(known)}
        self._explained[parent] = cgroups.lost_oom_kills(parent)

    def ended(self, entry: ContainerEntry, code: int) -> bool:
        """Whether an OOM kill is behind the end of a container, which had this exit code. Called once for each end."""
        cgroup = entry.record.cgroup
        parent = _above(cgroup)
        if cgroups.oom_kills(cgroup) > 0:
            return True
        if parent not in self._explained or cgroups.exists(cgroup):
            return False
        lost, explained = cgroups.lost_oom_kills(parent), self._explained[parent]
        if lost <= explained:
            return False
        if all(cgroups.exists(sibling.record.cgroup) for sibling in self._siblings(entry, parent)):
            # More than one kill may have been in this one. It is the only one that is gone: all were.
            self._explained[parent] = lost
        elif code == KILLED:
            self._explained[parent] = explained + 1
        return code == KILLED

    def _siblings(self, entry: ContainerEntry, parent: str) -> list[ContainerEntry]:
        """The other containers of the parent whose end is not recorded."""
        return [
            other
            for other in self._store.containers.values()
            if other is not entry and other.record.state != "exited" and _above(other.record.cgroup) == parent
        ]


def _above(cgroup: str) -> str:
    return cgroup.rpartition("/")[0]
