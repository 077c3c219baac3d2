"""What a machine runs out of, and what it is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from podyard.node.machine import read_machine
from podyard.node.pressure import FileSystem, Signals, pressures, read_signals

DISK = FileSystem(capacity=1000 << 20, available=500 << 20, inodes=1000, inodes_free=500)
FINE = Signals(memory_available=1 << 30, node_fs=DISK, image_fs=DISK, pids=100, pids_limit=32768)


def disk(**changes: int) -> FileSystem:
    return dataclasses.replace(DISK, **changes)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {}),
        ({"image_fs": None}, {}),
        ({"memory_available": 99 << 20}, {"MemoryPressure": "99 MiB of memory are left"}),
        ({"node_fs": disk(available=100 << 20)}, {}),
        ({"node_fs": disk(available=99 << 20)}, {"DiskPressure": "99 MiB of nodefs's 1000 MiB are left"}),
        ({"image_fs": disk(available=149 << 20)}, {"DiskPressure": "149 MiB of imagefs's 1000 MiB are left"}),
        ({"node_fs": disk(inodes_free=49)}, {"DiskPressure": "49 of nodefs's 1000 inodes are left"}),
        ({"node_fs": disk(inodes=0, inodes_free=0)}, {}),
        ({"pids": 32500}, {"PIDPressure": "32500 of 32768 tasks are there"}),
    ],
)
def test_thresholds(changes: dict[str, Any], found: dict[str, str]) -> None:
    assert pressures(dataclasses.replace(FINE, **changes)) == found


def test_this_machine(tmp_path: Path) -> None:
    signals = read_signals(tmp_path / "not" / "there" / "yet", tmp_path / "none")
    total = os.statvfs(tmp_path)
    assert signals.node_fs.capacity == total.f_blocks * total.f_frsize
    assert signals.image_fs is None
    assert 0 < signals.pids < signals.pids_limit
    assert 0 < signals.memory_available < read_machine().memory


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    files = {
        "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n',
        "etc/machine-id": "abc\n",
        "proc/sys/kernel/random/boot_id": "boot\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "3\n",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = read_machine(tmp_path)
    assert (machine.os_image, machine.machine_id, machine.boot_id) == ("Debian GNU/Linux 12", "abc", "boot")
    assert machine.huge_pages == {2 << 20: 6 << 20, 1 << 30: 0}
    assert (machine.system_uuid, machine.kernel) == ("", os.uname().release)
