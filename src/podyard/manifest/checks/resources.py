"""Faults of requests and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podyard.manifest.decode import NOT_SUPPORTED
from podyard.manifest.model import Container, Pod
from podyard.manifest.problems import Problem
from podyard.manifest.quantity import Quantity

HUGE_PAGES = "hugepages-"
STORAGE = "ephemeral-storage"
MAX_CPUS = 10**9
MAX_BYTES = 2**63 - 1


def check_resources(pod: Pod, container: Container, path: str) -> Iterator[Problem]:
    """Faults of one container's resources, and of what a change of them means."""
    resources = container.resources
    for field, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in amounts.items():
            yield from _check_amount(container, name, quantity, f"{path}.resources.{field}[{name!r}]")
    for name in resources.requests.keys() & resources.limits.keys():
        request, limit = resources.requests[name], resources.limits[name]
        if request > limit:
            yield Problem(0, f"{path}.resources.requests[{name!r}]", f"{request} is more than the limit {limit}")
    for index, policy in enumerate(container.resize_policy):
        where = f"{path}.resizePolicy[{index}]"
        if policy.restart_policy == "RestartContainer" and pod.spec.restart_policy == "Never":
            yield Problem(0, f"{where}.restartPolicy", "RestartContainer cannot go with the Pod's restartPolicy Never")
        if policy.resource_name in [earlier.resource_name for earlier in container.resize_policy[:index]]:
            yield Problem(0, f"{where}.resourceName", f"{policy.resource_name} stands here twice")


def check_overhead(amounts: Mapping[str, Quantity]) -> Iterator[Problem]:
    """Faults of what a Pod costs beside its containers."""
    for name, quantity in amounts.items():
        path = f"spec.overhead[{name!r}]"
        if name not in ("cpu", "memory", STORAGE):
            yield Problem(0, path, "unknown resource; a Pod costs cpu, memory and ephemeral-storage")
        elif not 0 <= quantity.amount <= (MAX_CPUS if name == "cpu" else MAX_BYTES):
            yield Problem(0, path, "must be 0 or more, and no more than any machine has")


def _check_amount(container: Container, name: str, quantity: Quantity, path: str) -> Iterator[Problem]:
    if quantity.amount < 0:
        yield Problem(0, path, "must be 0 or more")
    elif quantity.value > (MAX_CPUS if name == "cpu" else MAX_BYTES):
        yield Problem(0, path, "larger than any machine")
    if name == "memory" and quantity.amount.denominator != 1:
        yield Problem(0, path, f"{quantity} is not a whole number of bytes; did you mean Mi?")
    elif name.startswith(HUGE_PAGES):
        yield from _check_huge_pages(container, name, path)
    elif name not in ("cpu", "memory", STORAGE):
        if _is_known(name):
            yield Problem(0, path, NOT_SUPPORTED, unsupported=True)
        else:
            yield Problem(0, path, "unknown resource; podyard knows cpu, memory and hugepages-SIZE")


def _check_huge_pages(container: Container, name: str, path: str) -> Iterator[Problem]:
    """Huge pages are not overcommitted (Kubernetes documentation, "Manage HugePages")."""
    resources = container.resources
    try:
        page = Quantity.parse(name.removeprefix(HUGE_PAGES))
    except ValueError as error:
        yield Problem(0, path, f"the size of the pages: {error}")
        return
    limit = resources.limits.get(name)
    if page.amount <= 0 or limit is None or limit.amount % page.amount:
        yield Problem(0, path, "needs a limit that is a multiple of the pages' size")
    elif resources.requests.get(name, limit) != limit:
        yield Problem(0, path, "the request must be the limit")
    if not {"cpu", "memory"} & (resources.requests.keys() | resources.limits.keys()):
        yield Problem(0, path, "needs a request or limit of cpu or memory beside it")


def _is_known(name: str) -> bool:
    return "/" in name
