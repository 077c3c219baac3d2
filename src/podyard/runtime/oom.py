"""Whether a container was ended by the kernel for want of memory, also where its cgroup went with its last process.

A systemd scope is removed as soon as it is empty, and its count of kills with it, often before anybody could read it;
conmon's own watch is late as often. But on cgroup v2 a kill counts in every cgroup above, too (kernel documentation,
cgroup-v2, memory.events): what a slice has counted and none of its scopes that are left, happened in those that are
gone.
"""

from __future__ import annotations

from podyard.linux import cgroups
from podyard.runtime.store import ContainerEntry, Store

KILLED = 137
"""The exit code of a process that SIGKILL has ended."""

MANY = 1000
"""Slices that are remembered before those are forgotten that are gone: a kubelet makes one for each pod."""

TRIES = 20
"""How often to look again when scopes went while their counts were read."""


class Slice:
    """What is known of the kills below one slice."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity = cgroups.identity(name)
        self.explained = cgroups.lost_oom_kills(name)
        """Kills in scopes that are gone of which the end has been told."""
        self.told: dict[str, int] = {}
        """The kills in scopes that have told them themselves and were there still."""

    def unexplained(self) -> int:
        """Kills in scopes that are gone, and of which nothing has been told."""
        for _ in range(TRIES):
            for scope in [scope for scope in self.told if not cgroups.exists(scope)]:
                self.explained += self.told.pop(scope)
            lost = cgroups.lost_oom_kills(self.name)
            if all(cgroups.exists(scope) for scope in self.told):
                break
        return lost - self.explained


class OomKills:
    """Tells which ends are the kernel's. ``watch`` must be called while the container's cgroup is there."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._slices: dict[str, Slice] = {}

    def watch(self, cgroup: str) -> None:
        """Remember what has been lost under a container's slice before it ended."""
        name = _slice(cgroup)
        if not cgroups.is_v2() or not name:
            return
        known = self._slices.get(name)
        # A slice that was stopped meanwhile and made anew counts from 0.
        if known is not None and known.identity == cgroups.identity(name):
            return
        if len(self._slices) >= MANY:
            self._slices = {known: kept for known, kept in self._slices.items() if cgroups.exists(known)}
        self._slices[name] = Slice(name)

    def ended(self, entry: ContainerEntry, code: int) -> bool:
        """Whether an OOM kill is behind the end of a container, which had this exit code. Called once for each end."""
        cgroup = _scope(entry.record.cgroup) or entry.record.cgroup
        known = self._slices.get(_slice(cgroup))
        kills = cgroups.oom_kills(cgroup)
        if kills and known:
            known.told[cgroup] = kills
        if kills or known is None or cgroups.exists(cgroup):
            return kills > 0
        lost = known.unexplained()
        if lost <= 0:
            return False
        if all(cgroups.exists(other) for other in self._others(entry, known.name)):
            # More than one kill may have been in this scope. It is the only one that is gone: all were.
            known.explained += lost
        elif code == KILLED:
            known.explained += 1
        return code == KILLED

    def _others(self, entry: ContainerEntry, name: str) -> list[str]:
        """The scopes of the slice's other containers whose end is not recorded."""
        return [
            _scope(other.record.cgroup)
            for other in self._store.containers.values()
            if other is not entry and other.record.state != "exited" and _slice(other.record.cgroup) == name
        ]


def _scope(cgroup: str) -> str:
    """The scope of a container, "" where there is none. crun makes the container's cgroup below it."""
    head, found, _ = f"{cgroup}/".partition(".scope/")
    return f"{head}.scope" if found else ""


def _slice(cgroup: str) -> str:
    return _scope(cgroup).rpartition("/")[0]
