"""Small files of the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

LIMIT = 1 << 20
"""Bytes of one file: far more than any has."""

_PART = 1 << 13
"""Bytes that are read at once: Python makes a buffer as large."""


def read(path: str | Path) -> str | None:
    """A file's text; None where it is not there, or goes while it is read, or its controller is off.

    A list of containers reads thousands of them: this takes a third of the time of ``open``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = part = os.read(descriptor, _PART)
        # Only an empty part is the end: lists come a page or so at a time.
        while part and len(content) < LIMIT:
            part = os.read(descriptor, _PART)
            content += part
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content.decode("ascii", errors="replace")


def processes_below(folder: str) -> list[int]:
    """The processes of a cgroup and of those below it."""
    found: set[int] = set()
    for procs in _process_files(folder):
        found.update(int(line) for line in (read(procs) or "").split())
    return sorted(found)


def _process_files(folder: str) -> Iterator[str]:
    for below, _, names in os.walk(folder):
        if "cgroup.procs" in names:
            yield f"{below}/cgroup.procs"
