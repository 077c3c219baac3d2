"""The machine's disk: a Debian system with the tree and its Python environment, as an ext4 image."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

SUITE = "bookworm"
PYTHON = "3.11"
"""The version of Debian's python3: wheels are for it, whatever runs this program."""

PACKAGES = (
    # The machine.
    *("linux-image-cloud-amd64", "systemd", "systemd-sysv", "udev", "dbus", "kmod", "initramfs-tools", "zstd"),
    *("apparmor", "procps", "util-linux", "iproute2", "python3", "python3-venv"),
    # What podyard and its tests need (scripts/setup).
    *("crun", "runc", "conmon", "catatonit", "containernetworking-plugins", "iptables", "busybox-static"),
    *("docker-registry", "criu"),
)
UNWANTED_UNITS = ("docker-registry.service", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer")

TREE = "/srv/podyard"
FRESH_TREE = "/srv/fresh"
"""The tree once more, without a Python environment: there the README's first command starts from nothing."""
WHEELS = "/srv/wheels"
JOB = "/srv/job"
SIZE = "4G"

PIP_CONFIGURATION = f"""[global]
no-index = true
find-links = {WHEELS}
disable-pip-version-check = true
"""
BUILD_REQUIREMENTS = ("hatchling", "editables")
"""What pip needs to install the tree itself (pyproject.toml, build-system)."""


def install_packages(root: Path) -> None:
    """Make a bootable Debian system in ``root``. Raises CalledProcessError with mmdebstrap's log on standard error."""
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    # In namespaces of its own, no mount and no process of it is left in the folder, however it ends.
    alone = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    subprocess.run([*alone, *argv], check=True)
    # The system is no fresh one at its first boot: units are not enabled by presets again.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/hostname").write_text("podyard-vm\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost podyard-vm\n::1 localhost\n")
    for unit in UNWANTED_UNITS:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")


def install_environment(root: Path, tree: Path) -> None:
    """Put the locked dependencies into the system as wheels, and configure its pip so that it needs no network."""
    wheels = root / WHEELS.lstrip("/")
    for wanted in (["--require-hashes", "-r", str(tree / "requirements-dev.lock")], list(BUILD_REQUIREMENTS)):
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        target = ["--only-binary=:all:", "--python-version", PYTHON, "--dest", str(wheels)]
        subprocess.run([*pip, *target, *wanted], check=True)
    (root / "etc/pip.conf").write_text(PIP_CONFIGURATION)


def install_tree(root: Path, tree: Path) -> None:
    """Copy the working tree, what is not committed included, and make its Python environment.

    The environment is made here and not in the machine, where it would take minutes.
    """
    for target in (TREE, FRESH_TREE):
        copy_tree(tree, root / target.lstrip("/"))
    pip = ".venv/bin/pip install --quiet"
    script = (
        f"cd {TREE} && python3 -m venv .venv && {pip} --require-hashes -r requirements-dev.lock"
        f" && {pip} --no-deps --editable . && .venv/bin/python -m compileall -q src tests"
    )
    # Without the caller's own settings of pip, whose places are not in the system.
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    subprocess.run(["chroot", str(root), "sh", "-c", script], env=env, check=True)


def copy_tree(tree: Path, target: Path) -> None:
    """The files that git knows or would add, as they are now."""
    listed = subprocess.run(
        ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (tree / name).exists():  # or it was deleted and the deletion is not committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, target / name, follow_symlinks=False)


def write_job(root: Path, job: str) -> None:
    """Let the system run a shell command as soon as it is up, and switch itself off."""
    units = root / "etc/systemd/system"
    guest = Path(__file__).parent / "guest"
    shutil.copyfile(guest / "podyard-vm.service", units / "podyard-vm.service")
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "podyard-vm.service").unlink(missing_ok=True)
    (wants / "podyard-vm.service").symlink_to("../podyard-vm.service")
    (root / JOB.lstrip("/")).write_text(f"{job}\n")


def make_disk(root: Path, disk: Path) -> Path:
    """An ext4 image of the system, without mounting anything; its path."""
    options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root), str(disk), SIZE]
    subprocess.run(["/sbin/mke2fs", *options], check=True)
    return disk
