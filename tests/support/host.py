"""What podyard could leave behind on a host, as sets that a test compares before and after."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from podyard.linux import cgroups

OURS = ("conmon", "catatonit", "containerd-shim", "crun", "runc", "podyard")
"""Processes that a runtime starts; their command lines name them."""


RUNTIME_CGROUP = re.compile(r"podyard|pytest|kubepods|k8s\.io|[0-9a-f]{64}")


@dataclass(frozen=True)
class Host:
    """A snapshot. Every field is a set of lines that a person can read."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]
    rules: frozenset[str]

    def added_since(self, before: Host) -> dict[str, list[str]]:
        """What is there now and was not before, by kind; kinds without a difference are left out."""
        new = {field.name: sorted(getattr(self, field.name) - getattr(before, field.name)) for field in fields(self)}
        return {kind: lines for kind, lines in new.items() if lines}


def snapshot() -> Host:
    """The host as it is now."""
    return Host(
        processes=frozenset(_processes()),
        mounts=frozenset(_mounts()),
        namespaces=frozenset(_namespaces()),
        links=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        cgroups=frozenset(_cgroups()),
        rules=frozenset(_rules()),
    )


def _processes() -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue
        if not words[0]:
            continue  # a zombie (or a kernel thread): what collects it is not podyard, which has ended
        if name.startswith(OURS) or any(word.endswith((b"/podyard", b"/conmon")) for word in words[:3]):
            yield f"{folder.name} {b' '.join(words).decode(errors='replace')[:200]}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split(" ")[4]


def _namespaces() -> Iterator[str]:
    """Network namespaces that some process lives in."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield str((folder / "ns" / "net").readlink())
            except OSError:
                continue


def _cgroups() -> Iterator[str]:
    """Those that a container runtime makes: other software of the host comes and goes."""
    for base in cgroups.hierarchies():
        for folder, _, _ in os.walk(base):
            if RUNTIME_CGROUP.search(folder):
                yield folder


def _rules() -> Iterator[str]:
    for tool in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "mangle", "raw"):
            listed = subprocess.run([tool, "-w", "-t", table, "-S"], capture_output=True, text=True, check=False)
            for line in listed.stdout.splitlines():
                yield f"{tool} -t {table} {line}"
