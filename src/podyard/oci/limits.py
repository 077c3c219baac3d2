"""Limits that podyard writes by itself: those that OCI runtimes do not change, and those of a pod's own cgroup.

OCI ``linux.resources`` on the one side, files of a cgroup on the other (kernel documentation, cgroup-v1 and cgroup-v2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "cpu": {"shares": 1024, "quota": -1, "period": 100_000},
    "memory": {"limit": -1, "swap": -1},
}
"""The kernel's own values where nothing is set."""


def hugepage_files(limits: Mapping[str, Any], *, v2: bool) -> dict[str, str]:
    """Files of the hugetlb controller and what they must hold."""
    name = "max" if v2 else "limit_in_bytes"
    return {f"hugetlb.{entry['pageSize']}.{name}": str(entry["limit"]) for entry in limits.get("hugepageLimits", ())}


def pod_files(limits: Mapping[str, Any], *, v2: bool) -> dict[str, str]:
    """Files of a pod's cgroup and what they must hold: processor time, memory, huge pages, and ``unified`` on v2.

    Swap is left to the containers' own limits.
    """
    cpu, memory = limits.get("cpu", {}), limits.get("memory", {})
    files: dict[str, str] = {}
    if v2:
        if "shares" in cpu:
            files["cpu.weight"] = str(weight(cpu["shares"]))
        if "quota" in cpu or "period" in cpu:
            files["cpu.max"] = f"{_or_max(cpu.get('quota', -1))} {cpu.get('period', DEFAULTS['cpu']['period'])}"
        if "limit" in memory:
            files["memory.max"] = _or_max(memory["limit"])
        files.update(limits.get("unified", {}))
    else:
        names = {"shares": "cpu.shares", "period": "cpu.cfs_period_us", "quota": "cpu.cfs_quota_us"}
        files = {name: str(cpu[key]) for key, name in names.items() if key in cpu}
        if "limit" in memory:
            files["memory.limit_in_bytes"] = str(memory["limit"])
    return files | hugepage_files(limits, v2=v2)


def scope_swap(limits: Mapping[str, Any]) -> str:
    """What a container's systemd scope must have as MemorySwapMax (systemd.resource-control(5)), "" for anything.

    OCI runtimes leave it as it was: crun tells systemd nothing of swap at an update, and the scope's limit holds beside
    that of the container's cgroup below it; runc tells it no limit of 0, and the next "systemctl daemon-reload" brings
    the one before back.
    """
    memory, unified = limits.get("memory", {}), limits.get("unified", {})
    if "memory.swap.max" in unified:
        swap = str(unified["memory.swap.max"]).strip()
        return "infinity" if swap == "max" else swap
    if "swap" not in memory:
        return ""
    return "infinity" if memory["swap"] < 0 else str(memory["swap"] - memory["limit"])


def restoring(before: Mapping[str, Any], tried: Mapping[str, Any]) -> dict[str, Any]:
    """Limits that take back a change: what held before, and the kernel's own values for what was not set then."""
    found = dict(before)
    for part, defaults in DEFAULTS.items():
        missing = {key: defaults[key] for key in tried.get(part, {}) if key in defaults}
        if missing:
            found[part] = missing | before.get(part, {})
    return found


def weight(shares: int) -> int:
    """A v2 weight (1 to 10000) for v1 shares (2 to 262144), as OCI runtimes and kubelets convert them."""
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9999 // 262_142


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)
