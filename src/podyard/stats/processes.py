"""What the processes of a container hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from podyard.stats import parse
from podyard.stats.files import read


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open descriptors of some processes, and how many of them are sockets."""

    all: int
    sockets: int


def descriptors(pids: Iterable[int]) -> Descriptors:
    """Count them; a process that ends meanwhile counts as far as it was seen."""
    total = sockets = 0
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)  # noqa: PTH208 - some 10 times faster than Path
        except OSError:
            continue
        total += len(names)
        sockets += sum(_is_socket(f"{folder}/{name}") for name in names)
    return Descriptors(total, sockets)


def soft_limits(pid: int) -> dict[str, int]:
    """The soft limits of a process (getrlimit(2)), by names such as "max_open_files"; unlimited ones are left out."""
    return parse.soft_limits(read(f"/proc/{pid}/limits") or "")


def _is_socket(path: str) -> bool:
    try:
        return os.readlink(path).startswith("socket:")  # noqa: PTH115
    except OSError:
        return False
