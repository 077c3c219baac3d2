"""The limits of a container: CRI ``LinuxContainerResources`` as OCI ``linux.resources`` (config-linux.md).

What the kernel would refuse or the host cannot limit is refused here, in the words of the request: the OCI runtime
would only say that a write to some file failed.
"""

from __future__ import annotations

import re
from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.oci.host import HostFacts

PERIOD = range(1_000, 1_000_001)
"""Microseconds of a CPU period (kernel documentation, sched-bwc)."""
LEAST_QUOTA = 1_000
UNLIMITED = -1
LARGEST = 2**63 - 1

_CPU_LIST = re.compile(r"\d{1,7}(-\d{1,7})?(,\d{1,7}(-\d{1,7})?)*")
_UNIFIED_FILE = re.compile(r"([a-z][a-z0-9_]*)\.[A-Za-z0-9_.]+")


def linux_resources(wanted: api.LinuxContainerResources, host: HostFacts) -> dict[str, Any]:
    """OCI ``linux.resources`` without its device rules. 0 and "" in the request leave a limit unset.

    Raises InvalidArgument for a value that cannot be, FailedPrecondition for a limit that this host cannot keep.
    """
    found: dict[str, Any] = {
        "cpu": _cpu(wanted, host),
        "memory": _memory(wanted, host),
        "hugepageLimits": _hugepages(wanted, host),
        "unified": _unified(wanted, host),
        "pids": _pids(wanted, host),
    }
    return {name: value for name, value in found.items() if value}


def _cpu(wanted: api.LinuxContainerResources, host: HostFacts) -> dict[str, Any]:
    if wanted.cpu_shares < 0:
        raise InvalidArgument(f"resources.cpu_shares {wanted.cpu_shares} is negative")
    if wanted.cpu_period and wanted.cpu_period not in PERIOD:
        raise InvalidArgument(
            f"resources.cpu_period {wanted.cpu_period} is outside {PERIOD.start} … {PERIOD.stop - 1} microseconds"
        )
    if wanted.cpu_quota < UNLIMITED or 0 < wanted.cpu_quota < LEAST_QUOTA:
        raise InvalidArgument(
            f"resources.cpu_quota {wanted.cpu_quota} is neither -1 (no limit) nor {LEAST_QUOTA} microseconds or more"
        )
    for field in ("cpuset_cpus", "cpuset_mems"):
        text = getattr(wanted, field)
        if text and not _CPU_LIST.fullmatch(text):
            raise InvalidArgument(f"resources.{field} {text[:60]!r} is not a list such as 0-3,8")
    times = {"shares": wanted.cpu_shares, "quota": wanted.cpu_quota, "period": wanted.cpu_period}
    sets = {"cpus": wanted.cpuset_cpus, "mems": wanted.cpuset_mems}
    _need("cpu", host, [f"cpu_{name}" for name, value in times.items() if value])
    _need("cpuset", host, [f"cpuset_{name}" for name, value in sets.items() if value])
    return {name: value for name, value in (times | sets).items() if value}


def _memory(wanted: api.LinuxContainerResources, host: HostFacts) -> dict[str, int]:
    """``limit``, and ``swap``, which is memory and swap together.

    A container with a limit that says nothing of swap gets none, where the kernel can see to that: the same limit for
    both, as in containerd.
    """
    limit, swap = wanted.memory_limit_in_bytes, wanted.memory_swap_limit_in_bytes
    if limit < UNLIMITED:
        raise InvalidArgument(f"resources.memory_limit_in_bytes {limit} is negative")
    if not limit and not swap:
        return {}
    if swap:
        _check_swap(limit, swap, host)
    _need("memory", host, ["memory_limit_in_bytes"])
    if not swap and not host.swap:
        return {"limit": limit}
    return {"limit": limit, "swap": swap or limit}


def _check_swap(limit: int, swap: int, host: HostFacts) -> None:
    if swap < UNLIMITED:
        raise InvalidArgument(f"resources.memory_swap_limit_in_bytes {swap} is negative")
    if not limit:
        raise InvalidArgument("resources.memory_swap_limit_in_bytes needs memory_limit_in_bytes, too")
    if swap != UNLIMITED and (limit == UNLIMITED or swap < limit):
        raise InvalidArgument(
            f"resources.memory_swap_limit_in_bytes {swap} is below memory_limit_in_bytes {limit}: "
            "it counts memory and swap together"
        )
    if not host.swap:
        raise FailedPrecondition(
            "the container asks for memory_swap_limit_in_bytes, and this kernel does not account for swap: "
            "boot it with swapaccount=1, or leave the field out"
        )


def _hugepages(wanted: api.LinuxContainerResources, host: HostFacts) -> list[dict[str, Any]]:
    """One limit a page size.

    A kubelet sends a limit of 0 for each size that a container does not ask for. Without the controller that cannot be
    kept, nor can it on any other container of such a host: it is left out, as containerd does.
    """
    limits = []
    for entry in wanted.hugepage_limits:
        if host.hugepage_sizes and entry.page_size not in host.hugepage_sizes:
            raise InvalidArgument(
                f"resources.hugepage_limits: this host has no pages of {entry.page_size!r}, "
                f"but {', '.join(sorted(host.hugepage_sizes))}"
            )
        if entry.limit or "hugetlb" in host.controllers:
            _need("hugetlb", host, ["hugepage_limits"])
            limits.append({"pageSize": entry.page_size, "limit": min(entry.limit, LARGEST)})
    return limits


def _unified(wanted: api.LinuxContainerResources, host: HostFacts) -> dict[str, str]:
    """Files of a v2 cgroup and what to write to them (kernel documentation, cgroup-v2)."""
    if wanted.unified and not host.cgroup_v2:
        raise FailedPrecondition("resources.unified needs a host with cgroup v2 alone, and this one has cgroup v1")
    for name, value in wanted.unified.items():
        match = _UNIFIED_FILE.fullmatch(name)
        if match is None or match[1] == "cgroup":
            raise InvalidArgument(f"resources.unified: {name!r} is not a controller's file such as memory.high")
        if "\0" in value:
            raise InvalidArgument(f"resources.unified: the value of {name} holds a NUL character")
        _need(match[1], host, [f"unified[{name}]"])
    return dict(wanted.unified)


def _pids(wanted: api.LinuxContainerResources, host: HostFacts) -> dict[str, int]:
    """The administrator's limit, unless the request has its own (``unified``, pids.max)."""
    if not host.pids_limit or "pids.max" in wanted.unified:
        return {}
    if "pids" not in host.controllers:
        raise FailedPrecondition("runtime.pids_limit is set, and this host has no pids cgroup controller")
    return {"limit": host.pids_limit}


def _need(controller: str, host: HostFacts, fields: list[str]) -> None:
    if fields and controller not in host.controllers:
        raise FailedPrecondition(
            f"the container asks for resources.{fields[0]}, and this host has no {controller} cgroup controller"
        )
