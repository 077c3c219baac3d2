"""What is read of the node."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from podyard.pods import host


def test_the_facts_are_this_nodes() -> None:
    facts = host.read_host(Path("/proc"))
    assert facts.storage == 0
    disk = os.statvfs("/")
    assert host.read_host().storage == disk.f_blocks * disk.f_frsize
    assert facts.name == socket.gethostname()
    assert facts.cpus == os.cpu_count()
    assert f"MemTotal:{facts.memory // 1024:>15} kB" in Path("/proc/meminfo").read_text()
    assert all(not ipaddress.ip_address(address).is_unspecified for address in facts.ips)


@pytest.mark.parametrize(
    ("own", "systemds", "used"),
    [
        ("nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "nameserver 192.0.2.1\n"),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.2\n", "nameserver 192.0.2.2\n"),
        ("nameserver 127.0.0.53\n", None, "nameserver 127.0.0.53\n"),
        ("nameserver ::1\nnameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "nameserver ::1\nnameserver 192.0.2.1\n"),
        (None, "nameserver 192.0.2.2\n", ""),
    ],
)
def test_a_resolver_that_pods_cannot_reach_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, systemds: str | None, used: str
) -> None:
    for name, constant, text in (("own", "RESOLV_CONF", own), ("systemd", "SYSTEMD_RESOLV_CONF", systemds)):
        monkeypatch.setattr(host, constant, tmp_path / name)
        if text is not None:
            (tmp_path / name).write_text(text)
    assert host.read_host().resolv_conf == used
