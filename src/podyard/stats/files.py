"""Small files of the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

LIMIT = 1 << 20
"""Bytes of one file: far more than any has."""


def read(path: Path) -> str | None:
    """A file's text; None where it is not there, or goes while it is read, or its controller is off."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(LIMIT)
    except OSError:
        return None


def processes_below(folder: Path) -> list[int]:
    """The processes of a cgroup and of those below it."""
    found: set[int] = set()
    for procs in _process_files(folder):
        found.update(int(line) for line in (read(procs) or "").split())
    return sorted(found)


def _process_files(folder: Path) -> Iterator[Path]:
    for below, _, names in os.walk(folder):
        if "cgroup.procs" in names:
            yield Path(below, "cgroup.procs")
