"""Faults of requests and limits."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.decode import NOT_SUPPORTED
from podyard.manifest.model.container import Resources
from podyard.manifest.problems import Problem

_STORAGE = "ephemeral-storage"
MAX_CPUS = 10**9
MAX_BYTES = 2**63 - 1


def check_resources(resources: Resources, path: str) -> Iterator[Problem]:
    """Faults of one container's resources."""
    for field, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in amounts.items():
            where = f"{path}.{field}[{name!r}]"
            if quantity.amount < 0:
                yield Problem(0, where, "must be 0 or more")
            elif quantity.value > (MAX_CPUS if name == "cpu" else MAX_BYTES):
                yield Problem(0, where, "larger than any machine")
            if name == "memory" and quantity.amount.denominator != 1:
                yield Problem(0, where, f"{quantity} is not a whole number of bytes; did you mean Mi?")
            # a storage request only guides a scheduler; a limit would have to be watched and enforced
            elif name not in ({"cpu", "memory", _STORAGE} if field == "requests" else {"cpu", "memory"}):
                if _is_known(name):
                    yield Problem(0, where, NOT_SUPPORTED, unsupported=True)
                else:
                    yield Problem(0, where, "unknown resource; podyard knows cpu and memory")
    for name in resources.requests.keys() & resources.limits.keys():
        request, limit = resources.requests[name], resources.limits[name]
        if request > limit:
            yield Problem(0, f"{path}.requests[{name!r}]", f"{request} is more than the limit {limit}")


def _is_known(name: str) -> bool:
    return name == _STORAGE or name.startswith("hugepages-") or "/" in name
