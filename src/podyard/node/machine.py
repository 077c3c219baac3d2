"""What this machine is: what a Node object tells of it."""

from __future__ import annotations

import os
import platform
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from podyard.pods.host import read_host

_MAX_FILE = 1 << 16
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Names of machines as Go has them, where they differ from the kernel's."""
_HUGE_PAGES = re.compile(r"hugepages-([0-9]+)kB")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Amounts: bytes."""

    ips: tuple[str, ...]
    cpus: int
    memory: int
    huge_pages: dict[int, int] = field(default_factory=dict)
    """What is set aside, by the size of a page."""
    kernel: str = ""
    os_image: str = ""
    architecture: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""


def read_machine(root: Path = Path("/")) -> Machine:
    """This machine, as it is now. Reads small files below ``root``: for a thread."""
    host = read_host()
    kernel = os.uname()
    return Machine(
        ips=host.ips,
        cpus=host.cpus,
        memory=host.memory,
        huge_pages=_huge_pages(root / "sys/kernel/mm/hugepages"),
        kernel=kernel.release,
        os_image=_os_image(root / "etc/os-release") or platform.system(),
        architecture=_ARCHITECTURES.get(kernel.machine, kernel.machine),
        machine_id=_read(root / "etc/machine-id"),
        system_uuid=_read(root / "sys/class/dmi/id/product_uuid"),
        boot_id=_read(root / "proc/sys/kernel/random/boot_id"),
    )


def _huge_pages(folder: Path) -> dict[int, int]:
    found = {}
    for entry in sorted(folder.glob("hugepages-*kB")):
        if match := _HUGE_PAGES.fullmatch(entry.name):
            size, count = int(match.group(1)) << 10, _read(entry / "nr_hugepages")
            found[size] = size * int(count) if count.isdigit() else 0
    return found


def _os_image(path: Path) -> str:
    """PRETTY_NAME of os-release(5)."""
    for line in _read(path).splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            try:
                return " ".join(shlex.split(value))
            except ValueError:
                return value
    return ""


def _read(path: Path) -> str:
    """The text of a file; "" where this machine has no such file, or keeps it to itself."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_FILE).strip()
    except OSError:
        return ""
