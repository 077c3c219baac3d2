"""What must be known of this node."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from podyard.manifest.translate import HostFacts

RESOLV_CONF = Path("/etc/resolv.conf")
SYSTEMD_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")
"""The real servers, where /etc/resolv.conf names systemd's local one, which pods cannot reach."""
_MAX_FILE = 1 << 20


def read_host(root: Path = Path("/")) -> HostFacts:
    """The facts of this node, as they are now; ``root``: where Pods' files are. Reads small files: for a thread."""
    disk = os.statvfs(root)
    return HostFacts(
        name=socket.gethostname(),
        ips=_addresses(),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        storage=disk.f_blocks * disk.f_frsize,
        resolv_conf=_resolv_conf(),
        hosts=_read(Path("/etc/hosts")),
    )


def _addresses() -> tuple[str, ...]:
    """The addresses that its default routes use. Connecting a datagram socket sends nothing."""
    found = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue  # no route, or no such protocol, on this node: no address of that kind
    return tuple(found)


def _resolv_conf() -> str:
    text = _read(RESOLV_CONF)
    servers = [words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"]
    if servers and all(_is_loopback(server) for server in servers):
        return _read(SYSTEMD_RESOLV_CONF) or text
    return text


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_FILE)
    except FileNotFoundError:
        return ""
