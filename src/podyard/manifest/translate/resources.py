"""Requests and limits as the kernel's settings (Kubernetes documentation, "Resource Management for Pods and
Containers" and "Pod Quality of Service Classes")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Literal

from podyard.cri import api
from podyard.manifest.checks.resources import HUGE_PAGES
from podyard.manifest.model import Container, Pod, is_sidecar
from podyard.manifest.quantity import Quantity

CPU_PERIOD = 100_000
"""Microseconds in which a quota is used up."""
MIN_QUOTA = 1_000
"""Microseconds: the kernel takes no smaller one."""
MIN_SHARES, MAX_SHARES = 2, 262_144
"""The kernel's own bounds of cpu.shares."""
OOM_GUARANTEED, OOM_BEST_EFFORT = -997, 1000

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]


def requests_of(container: Container) -> Mapping[str, Quantity]:
    """The requests; a limit without one is its own request."""
    return {**container.resources.limits, **container.resources.requests}


def qos_class(pod: Pod) -> QosClass:
    """How the node treats the Pod when memory runs short."""
    pairs = list(_request_limit_pairs(pod))
    if not any(amount is not None and amount.amount > 0 for pair in pairs for amount in pair):
        return "BestEffort"
    if all(limit is not None and limit.amount > 0 and request == limit for request, limit in pairs):
        return "Guaranteed"
    return "Burstable"


def linux_resources(pod: Pod, container: Container, memory: int) -> api.LinuxContainerResources:
    """What the cgroup of a container gets. ``memory``: the node's, in bytes."""
    limits = container.resources.limits
    resources = _linux(requests_of(container).get("cpu"), limits.get("cpu"), limits.get("memory"))
    resources.oom_score_adj = oom_score(pod, container, memory)
    for name in sorted(limits):
        if name.startswith(HUGE_PAGES):
            size = page_size(Quantity.parse(name.removeprefix(HUGE_PAGES)).value)
            resources.hugepage_limits.add(page_size=size, limit=limits[name].value)
    return resources


def together(pod: Pod, amounts: Callable[[Container], Mapping[str, Quantity]]) -> dict[str, Quantity]:
    """The most that a Pod's containers have at one time, by resource (Kubernetes documentation, "Sidecar Containers").

    Containers and sidecars run together; init containers one after the other, beside the sidecars before them.
    """
    beside: defaultdict[str, Fraction] = defaultdict(Fraction)
    peak: defaultdict[str, Fraction] = defaultdict(Fraction)
    for container in pod.all_containers():
        lasts = container in pod.spec.containers or is_sidecar(container)
        for name, quantity in amounts(container).items():
            peak[name] = max(peak[name], beside[name] + quantity.amount)
            beside[name] += quantity.amount if lasts else 0
    return {name: Quantity(amount) for name, amount in peak.items()}


def pod_resources(pod: Pod) -> api.LinuxContainerResources:
    """What the containers of a Pod have together; where one of them has no limit, all have none."""
    limits = together(pod, lambda container: container.resources.limits)
    for container in pod.all_containers():
        limits = {name: limit for name, limit in limits.items() if name in container.resources.limits}
    return _linux(together(pod, requests_of).get("cpu"), limits.get("cpu"), limits.get("memory"))


def pod_overhead(pod: Pod) -> api.LinuxContainerResources | None:
    """What a Pod costs beside its containers; None where it says nothing of that."""
    cpu, memory = pod.spec.overhead.get("cpu"), pod.spec.overhead.get("memory")
    return _linux(cpu, cpu, memory) if pod.spec.overhead else None


def _linux(request: Quantity | None, limit: Quantity | None, memory: Quantity | None) -> api.LinuxContainerResources:
    """A cpu request, a cpu limit and a memory limit."""
    resources = api.LinuxContainerResources(cpu_period=CPU_PERIOD, cpu_shares=_shares(request))
    if limit is not None and limit.milli > 0:
        resources.cpu_quota = max(limit.milli * CPU_PERIOD // 1000, MIN_QUOTA)
    if memory is not None:
        resources.memory_limit_in_bytes = memory.value
    return resources


def page_of(pod: Pod, medium: str) -> int:
    """Bytes of a page of a volume's medium: "HugePages-2Mi", or "HugePages" for the one size that the Pod uses."""
    named = medium.removeprefix("HugePages").removeprefix("-")
    names = (name for container in pod.all_containers() for name in container.resources.limits)
    text = named or next(name.removeprefix(HUGE_PAGES) for name in names if name.startswith(HUGE_PAGES))
    return Quantity.parse(text).value


def page_size(size: int) -> str:
    """A huge page's size as the kernel's controller names it: ``2MB`` (hugetlb in the cgroup documentation)."""
    for power, suffix in ((30, "GB"), (20, "MB"), (10, "KB")):
        if size >= 1 << power:
            return f"{size >> power}{suffix}"
    return f"{size}B"


def oom_score(pod: Pod, container: Container, memory: int) -> int:
    """Who is killed first: best-effort Pods, then burstable ones, those that ask for little before those that ask for
    much. A sidecar is not killed before the containers that it serves."""
    scores = [_own_oom_score(pod, container, memory)]
    if container in pod.spec.init_containers and is_sidecar(container):
        scores.append(min(_own_oom_score(pod, main, memory) for main in pod.spec.containers))
    return min(scores)


def _own_oom_score(pod: Pod, container: Container, memory: int) -> int:
    match qos_class(pod):
        case "Guaranteed":
            return OOM_GUARANTEED
        case "BestEffort":
            return OOM_BEST_EFFORT
    request = requests_of(container).get("memory")
    share = OOM_BEST_EFFORT - (OOM_BEST_EFFORT * (request.value if request else 0)) // memory
    # never at or below a guaranteed Pod's, never that of a best-effort one
    return min(max(share, OOM_BEST_EFFORT + OOM_GUARANTEED), OOM_BEST_EFFORT - 1)


def _shares(cpu: Quantity | None) -> int:
    milli = cpu.milli if cpu is not None else 0
    return min(max(milli * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def _request_limit_pairs(pod: Pod) -> Iterator[tuple[Quantity | None, Quantity | None]]:
    for container in pod.all_containers():
        requests = requests_of(container)
        for name in ("cpu", "memory"):
            yield requests.get(name), container.resources.limits.get(name)
