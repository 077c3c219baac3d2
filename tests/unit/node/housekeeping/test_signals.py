"""What a machine has left."""

from __future__ import annotations

import os
from pathlib import Path

from podyard.node.housekeeping.signals import Observation, observe

FILES = {
    "stat": "cpu  1 2 3 4 5 6 7 8 0 0\nbtime 1000\n",
    "meminfo": "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 100 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "loadavg": "0.1 0.2 0.3 2/100 4711\n",
    "sys/kernel/pid_max": "32768\n",
    "sys/kernel/threads-max": "5000\n",
}


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = observe(tmp_path / "not" / "there", tmp_path, tmp_path)
    # What is used, but for file pages that were not used lately, is not available.
    assert found.signals["memory.available"] == Observation(400 << 10, 1000 << 10)
    assert found.signals["pid.available"] == Observation(4900, 5000)
    assert not found.own_image_disk
    assert found.signals["imagefs.available"].capacity == found.signals["nodefs.available"].capacity


def test_this_machine(tmp_path: Path) -> None:
    found = observe(tmp_path, tmp_path / "none")
    total = os.statvfs(tmp_path)
    assert found.signals["nodefs.available"].capacity == total.f_blocks * total.f_frsize
    assert "imagefs.available" not in found.signals
    for one in found.signals.values():
        assert 0 <= one.available <= one.capacity
    other = observe(tmp_path, Path("/proc"))
    assert other.own_image_disk
