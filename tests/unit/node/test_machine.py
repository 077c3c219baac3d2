"""What a machine is."""

from __future__ import annotations

import os
from pathlib import Path

from podyard.node.machine import read_machine


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
