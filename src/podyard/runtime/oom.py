"""Whether a container was ended by the kernel for want of memory, also where its cgroup went with its last process.

A systemd scope is removed as soon as it is empty, and its count of kills with it, often before anybody could read it;
conmon's own watch is late as often. But on cgroup v2 a kill counts in every cgroup above, too (kernel documentation,
cgroup-v2, memory.events): what a slice has counted and none of its scopes that are left, happened in those that are
gone. What was known of a slice is kept in a file: kills go on while podyard does not run.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from podyard.linux import cgroups
from podyard.runtime.store import ContainerEntry, Store

logger = logging.getLogger(__name__)

KILLED = 137
"""The exit code of a process that SIGKILL has ended."""

MANY = 1000
"""Slices that are remembered before those are forgotten that are gone: a kubelet makes one for each pod."""

TRIES = 20
"""How often to look again when scopes went while their counts were read."""


class Slice(msgspec.Struct):
    """What is known of the kills below one slice."""

    name: str
    identity: int | None
    explained: int
    """Kills in scopes that are gone of which the end has been told."""
    told: dict[str, int] = {}
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
    """Tells which ends are the kernel's. ``watch`` must be called while the container's cgroup is there.

    ``file``: keeps what is known until the next start; it goes with a reboot, as the slices do.
    """

    def __init__(self, store: Store, file: Path) -> None:
        self._store = store
        self._file = file
        self._slices = _kept(file)

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
        self._slices[name] = Slice(name, cgroups.identity(name), cgroups.lost_oom_kills(name))
        self._keep()

    def ended(self, entry: ContainerEntry, code: int) -> bool:
        """Whether an OOM kill is behind the end of a container, which had this exit code. Called once for each end."""
        cgroup = _scope(entry.record.cgroup) or entry.record.cgroup
        known = self._slices.get(_slice(cgroup))
        kills = cgroups.oom_kills(cgroup)
        if kills and known:
            known.told[cgroup] = kills
            self._keep()
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
        self._keep()
        return code == KILLED

    def _keep(self) -> None:
        new = self._file.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(self._slices))
            new.rename(self._file)
        except OSError as error:
            logger.warning("OOM kills while podyard is down will not be told: %s", error)

    def _others(self, entry: ContainerEntry, name: str) -> list[str]:
        """The scopes of the slice's other containers whose end is not recorded."""
        return [
            _scope(other.record.cgroup)
            for other in self._store.containers.values()
            if other is not entry and other.record.state != "exited" and _slice(other.record.cgroup) == name
        ]


def _kept(file: Path) -> dict[str, Slice]:
    """What was known at the last end, of the slices that are still the same."""
    try:
        slices = msgspec.json.decode(file.read_bytes(), type=dict[str, Slice])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    return {name: kept for name, kept in slices.items() if kept.identity == cgroups.identity(name)}


def _scope(cgroup: str) -> str:
    """The scope of a container, "" where there is none. crun makes the container's cgroup below it."""
    head, found, _ = f"{cgroup}/".partition(".scope/")
    return f"{head}.scope" if found else ""


def _slice(cgroup: str) -> str:
    return _scope(cgroup).rpartition("/")[0]
