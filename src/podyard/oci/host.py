"""What the host offers to containers: read once at the daemon's start, then passed to the pure functions here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podyard.linux import cgroups, idmap
from podyard.oci import apparmor, capabilities

CGROUP_V1_SWAP = cgroups.ROOT / "memory" / "memory.memsw.limit_in_bytes"
SELINUX_ENFORCE = Path("/sys/fs/selinux/enforce")
HUGEPAGES = Path("/sys/kernel/mm/hugepages")
LOWEST_OOM_SCORE_ADJ = -1000


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """The host as container specs must know it."""

    capabilities: frozenset[str]
    """The daemon's own, as "CAP_…": nothing more can be handed on."""
    oom_score_adj_floor: int
    """The lowest value that the daemon may give a process."""
    cgroup_v2: bool
    """Only the v2 hierarchy is mounted."""
    cgroup_namespace: bool
    """The kernel has cgroup namespaces."""
    apparmor: bool
    selinux: bool
    seccomp: bool
    seccomp_dir: Path
    """Where Localhost profiles with a relative name are."""
    apparmor_default: str = ""
    """The AppArmor profile of containers that name none; "" while none is loaded."""
    swap: bool = True
    """The kernel accounts for swap, so it can be limited."""
    controllers: frozenset[str] = frozenset({"cpu", "cpuset", "memory", "pids"})
    """The cgroup controllers that are there ("memory", "hugetlb" …): what has none cannot be limited."""
    hugepage_sizes: frozenset[str] = frozenset()
    """The kernel's sizes of huge pages, as the hugetlb controller writes them ("2MB")."""
    pids_limit: int = 0
    """Processes that one container may have; 0 sets no limit."""
    recursive_read_only: bool = False
    """The kernel changes attributes of whole trees of mounts (Linux 5.12)."""
    cdi_dirs: tuple[Path, ...] = ()
    """Where files of the Container Device Interface are, the least important directory first."""
    machine: str = field(default_factory=lambda: os.uname().machine)
    """As uname -m has it: "x86_64", "aarch64"."""
    hostname: str = field(default_factory=lambda: os.uname().nodename)
    """What a container is told that has no host name of its own."""


def read_host_facts(
    seccomp_dir: Path, *, pids_limit: int = 0, cdi_dirs: Sequence[Path] = (), apparmor_default: str = ""
) -> HostFacts:
    """The facts of this host, and what its administrator has set. ``apparmor_default``: a profile that is loaded.

    Raises OSError where /proc is not readable.
    """
    status = _fields(Path("/proc/self/status").read_text(encoding="ascii", errors="replace"))
    own = capabilities.from_mask(int(status["CapEff"], 16)) & capabilities.from_mask(int(status["CapBnd"], 16))
    return HostFacts(
        capabilities=own,
        oom_score_adj_floor=_oom_score_adj_floor(own),
        cgroup_v2=cgroups.is_v2(),
        cgroup_namespace=Path("/proc/self/ns/cgroup").exists(),
        apparmor=apparmor.enabled(),
        apparmor_default=apparmor_default,
        selinux=SELINUX_ENFORCE.exists(),
        seccomp="Seccomp" in status,
        seccomp_dir=seccomp_dir,
        swap=_v2_has("memory.swap.max") if cgroups.is_v2() else CGROUP_V1_SWAP.exists(),
        controllers=_controllers(),
        hugepage_sizes=frozenset(_size_name(path) for path in HUGEPAGES.glob("hugepages-*kB")),
        pids_limit=pids_limit,
        recursive_read_only=idmap.available(),
        cdi_dirs=tuple(cdi_dirs),
    )


def _fields(status: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}


def _oom_score_adj_floor(own: frozenset[str]) -> int:
    """Lowering the value takes CAP_SYS_RESOURCE (proc(5)); without it the daemon's own value is the lowest."""
    if "CAP_SYS_RESOURCE" in own:
        return LOWEST_OOM_SCORE_ADJ
    return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


def _v2_has(name: str) -> bool:
    """Whether some cgroup below the root has this file: the root itself never has limits."""
    return next(cgroups.ROOT.glob(f"*/{name}"), None) is not None


def _controllers() -> frozenset[str]:
    if cgroups.is_v2():
        return frozenset((cgroups.ROOT / "cgroup.controllers").read_text(encoding="ascii").split())
    # On v1 a hierarchy is mounted under the names of its controllers: "memory", "cpu,cpuacct".
    return frozenset(name for base in cgroups.hierarchies() for name in base.name.split(","))


def _size_name(folder: Path) -> str:
    """ "2MB" for "hugepages-2048kB" (kernel documentation, hugetlbpage and cgroup-v1/hugetlb)."""
    size = int(folder.name.removeprefix("hugepages-").removesuffix("kB"))
    for unit in ("KB", "MB"):
        if size % 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}GB"
