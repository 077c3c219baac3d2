"""A run of the machine under qemu: the job's output as it comes, and its exit code."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

MEMORY = "2048"
"""MiB."""
CORES = "2"
PORT = "podyard.job"
"""The virtio port to which the job writes (guest/podyard-vm.service)."""
UP = re.compile(rb"podyard-vm: up\s*")
END = re.compile(rb"podyard-vm: exit code (\d{1,3})\s*")
BOOT_LIMIT = 600.0
"""Seconds until the job tells that it runs: some 20 on a quiet host."""

KERNEL_ARGUMENTS = (
    "root=/dev/vda rw console=ttyS0 panic=-1 "
    "systemd.unified_cgroup_hierarchy=1 apparmor=1 security=apparmor "
    # What an emulated processor does slowly: mitigations, a fifth level of page tables, and reading any clock but its
    # own counter, which Linux would not trust.
    "mitigations=off no5lvl tsc=reliable audit=0"
)


@dataclass(frozen=True)
class Ended:
    """``code``: the job's exit code; None when the machine ended without telling one."""

    code: int | None
    outcome: str
    console: str
    """The end of what the machine's console showed."""


def run(root: Path, disk: Path, *, limit: float) -> Ended:
    """Boot ``disk`` with the kernel of ``root``, and copy what the job writes to standard output until power off.

    ``limit``: seconds that the job may take. After them, or BOOT_LIMIT without a job, the machine is switched off.
    """
    console = disk.with_name("console")
    code = None
    late: list[str] = []
    # It dies with this program. Its standard input stays open: at its end the port would count as closed, and the
    # job's writes would wait.
    argv = ["setpriv", "--pdeathsig", "KILL", *_argv(root, disk, console)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:

        def within(seconds: float, what: str) -> threading.Timer:
            def switch_off() -> None:
                late.append(f"it was switched off: {what} after {seconds:g} s")
                qemu.kill()

            timer = threading.Timer(seconds, switch_off)
            timer.start()
            return timer

        timer = within(BOOT_LIMIT, "it had not booted")
        try:
            assert qemu.stdout is not None
            for line in qemu.stdout:
                if UP.fullmatch(line):
                    timer.cancel()
                    timer = within(limit, "its job had not ended")
                elif end := END.fullmatch(line):
                    code = int(end[1])
                else:
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
        finally:
            timer.cancel()
            qemu.kill()
    if late:
        code, outcome = None, late[0]
    else:
        outcome = "it told no exit code" if code is None else f"exit code {code}"
    return Ended(code, outcome, console.read_text(errors="replace")[-6000:] if console.exists() else "")


def _argv(root: Path, disk: Path, console: Path) -> list[str]:
    [kernel] = root.glob("boot/vmlinuz-*")
    [initrd] = root.glob("boot/initrd.img-*")
    return [
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", CORES, "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", KERNEL_ARGUMENTS),
        *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
        *("-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci", "-chardev", "stdio,id=job,signal=off"),
        *("-device", f"virtserialport,chardev=job,name={PORT}"),
    ]
