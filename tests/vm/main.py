"""The end-to-end suite on a host that this one is not: systemd as process 1, cgroup v2 alone, AppArmor on.

A virtual machine is built from Debian packages, booted under qemu's software emulation, and thrown away.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.vm import image, machine

TREE = Path(__file__).resolve().parents[2]
LIMIT = 60 * 60.0
"""Seconds that the suite may take; it takes some 20 minutes where nothing else runs on two cores."""


def main(arguments: list[str] | None = None) -> int:
    """Build, boot and run; the suite's exit code, or 1 when the machine did not come to an end by itself."""
    parser = argparse.ArgumentParser(
        prog="tests/vm/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--command", help="a shell command to run in the machine instead of the suite")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that the machine may run (%(default)s)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest in place of the suite's own choice of tests")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("building the machine needs root")
    # What is under way is ended, and the folder removed, as at an interruption.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    job = options.command or shlex.join([f"{image.TREE}/tests/vm/guest/suite", *options.pytest])
    # Not in /tmp's tmpfs, where there is one: the image takes some 3 GB.
    with tempfile.TemporaryDirectory(prefix="podyard-vm-", dir="/var/tmp") as folder:
        clock = Clock()
        root = Path(folder) / "root"
        image.install_packages(root)
        clock.say("the packages are installed")
        image.install_environment(root, TREE)
        image.install_tree(root, TREE)
        clock.say("the tree is installed")
        image.write_job(root, job)
        disk = image.make_disk(root, Path(folder) / "disk")
        clock.say("booting")
        ended = machine.run(root, disk, limit=options.limit)
        clock.say(f"the machine is off: {ended.outcome}")
    if ended.code is None:
        sys.stderr.write(f"the end of the machine's console:\n{ended.console}\n")
        return 1
    return ended.code


class Clock:
    """Says what has been reached, and the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line on standard output."""
        sys.stdout.write(f"vm: {time.monotonic() - self._began:5.0f} s  {text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
