"""A confined process has its root directory and little else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

CONFINED = """
import ctypes, errno, json, os, resource, socket, sys
from podyard.linux import confine, landlock, libc, seccomp
without, *roots, other = sys.argv[1:]
if without:  # as on a host that has not got it
    {"landlock": landlock, "seccomp": seccomp}[without].restrict = lambda *_: False
kept = open(os.path.join(other, "kept"), "rb", buffering=0)
confine.isolate()
capabilities = (confine.CAP_CHOWN, confine.CAP_DAC_OVERRIDE, confine.CAP_MKNOD, confine.CAP_SYS_ADMIN)
confined = confine.confine(roots, capabilities, {
    resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 40}, read_only=[other])
[below] = confined.read_only

def call(number, *arguments):
    result = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return errno.errorcode[error.errno]

write = os.O_WRONLY | os.O_CREAT
"""

ONE = """
os.mkdir("/a"), os.mkdir("/b")
os.close(os.open("/a/file", write))
os.mknod("/null", 0o020666, os.makedev(1, 3))
seen = {
    "link across folders": attempt(lambda: os.link("/a/file", "/b/file")),
    "what was open": attempt(lambda: kept.read()),
    "the host by ..": attempt(lambda: sorted(os.listdir("/../../.."))),
    "a device": attempt(lambda: os.open("/null", os.O_WRONLY)),
    "listing below": attempt(lambda: os.listdir(os.open(".", os.O_RDONLY, dir_fd=below))),
    "reading below": attempt(lambda: os.open("kept", os.O_RDONLY, dir_fd=below)),
    "writing below": attempt(lambda: os.open("new", write, dir_fd=below)),
    "out of below": attempt(lambda: os.open("../escaped", write, dir_fd=below)),
    "chown below": attempt(lambda: os.chown("kept", 5, 5, dir_fd=below)),
    "seeing the host's files from below": attempt(lambda: os.stat("../../../../../../../../etc/passwd", dir_fd=below)),
    "chroot": attempt(lambda: os.chroot("/a")),
    "chmod": attempt(lambda: os.chmod("kept", 0o777, dir_fd=below)),
    "changing its mount": attempt(lambda: libc.mount_setattr(
        os.open("/", os.O_PATH), 0, recursive=False, propagation=libc.MS_PRIVATE)),
    "changing the mount below": attempt(lambda: libc.mount_setattr(
        os.open("..", os.O_PATH, dir_fd=below), 0, recursive=False, propagation=libc.MS_PRIVATE)),
    "a copy of its mount": attempt(lambda: libc.open_tree("/", recursive=False)),
    "a new file system": attempt(lambda: call(430, b"proc", 0)),  # fsopen(2)
    "another process": attempt(lambda: os.pidfd_open(os.getppid())),
    "mount": attempt(lambda: libc.mount("none", "/a", "tmpfs", 0, "")),
    "interfaces": attempt(lambda: [name for _, name in socket.if_nameindex()]),
}
print(json.dumps([confined.locked, seen]))
"""

SEVERAL = """
os.mkdir("a")
os.close(os.open("a/file", write))
held = [os.open(".", os.O_PATH | os.O_DIRECTORY), os.open("a/file", os.O_WRONLY)]
for held_one in held:
    os.close(held_one)
before = confined.advance()
os.mkdir("b")
seen = {
    "the working directory": attempt(lambda: os.listdir(".")),
    "the first by ..": attempt(lambda: os.listdir("../../..")),
    "the root": attempt(lambda: os.listdir("/../../..")),
    "writing to the root": attempt(lambda: os.open("/a/file", os.O_WRONLY)),
    "chmod in the root": attempt(lambda: os.chmod("/a/file", 0o4777)),
    "seeing the first": attempt(lambda: os.stat("a/file", dir_fd=before).st_size),
    "listing the first": attempt(lambda: os.listdir(os.open("a", os.O_RDONLY, dir_fd=before))),
    "writing to the first": attempt(lambda: os.open("a/file", os.O_WRONLY, dir_fd=before)),
    "a new file in the first": attempt(lambda: os.open("a/new", write, dir_fd=before)),
    "removing from the first": attempt(lambda: os.unlink("a/file", dir_fd=before)),
    "chmod in the first": attempt(lambda: os.chmod("a/file", 0o4777, dir_fd=before)),
    "chown in the first": attempt(lambda: os.chown("a/file", 5, 5, dir_fd=before)),
    "times in the first": attempt(lambda: os.utime("a/file", (0, 0), dir_fd=before)),
    "a link to the first": attempt(lambda: os.link("a/file", "b/link", src_dir_fd=before)),
    "the host's files": attempt(lambda: os.stat("../../../../../../../../etc/passwd", dir_fd=before)),
}
os.fchdir(before)
seen["the host's files from outside of the root"] = attempt(lambda: os.stat("../../../../../../../etc/passwd"))
os.fchdir(below)
seen["the first's by its neighbour"] = attempt(lambda: os.chmod("../root/a/file", 0o4777))
confined.advance()
seen["the third"] = attempt(lambda: os.listdir("."))
# setns(2) into a mount namespace makes the root of that the process' own.
seen["the host's root"] = attempt(lambda: libc.setns(os.pidfd_open(os.getpid()), 0x00020000))
print(json.dumps([confined.locked, seen]))
"""


def run(program: str, without: str, *folders: Path) -> tuple[bool, dict[str, str]]:
    """Whether Landlock was there, and what the program saw."""
    before = Path("/proc/self/mountinfo").read_text()
    argv = [sys.executable, "-c", CONFINED + program, without, *folders]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert Path("/proc/self/mountinfo").read_text() == before
    locked, seen = json.loads(ran.stdout)
    return locked, seen


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three to be the root, and another."""
    made = [tmp_path / name for name in ("root", "second", "third", "other")]
    for folder in made:
        folder.mkdir()
    (made[-1] / "kept").write_text("kept")
    return made


@pytest.mark.alone
@pytest.mark.parametrize("without", ["", "landlock", "seccomp"])
def test_a_confined_process_reaches_its_root_and_nothing_else(
    tmp_path: Path, folders: list[Path], without: str
) -> None:
    locked, seen = run(ONE, without, folders[0], folders[-1])
    expected = {
        "link across folders": "None",
        "what was open": "b'kept'",
        "the host by ..": "['a', 'b', 'null']",
        "a device": "EACCES",
        "listing below": "['kept']",
        "reading below": "EACCES",
        "writing below": "EROFS",
        "out of below": "EROFS",
        "chown below": "EROFS",
        "chmod": "EROFS",
        "seeing the host's files from below": "ENOENT",
        "chroot": "EPERM",
        # They could be made to let it open devices, and to let it write.
        "changing its mount": "EPERM",
        "changing the mount below": "EPERM",
        "a copy of its mount": "EPERM",
        "a new file system": "EPERM",
        "another process": "EPERM",
        "mount": "EPERM",
        "interfaces": "EPERM",
    }
    if without == "seccomp":
        # They are attached to no namespace's tree.
        expected |= dict.fromkeys(("changing its mount", "changing the mount below", "a copy of its mount"), "EINVAL")
        expected |= {name: seen[name] for name in ("a new file system", "another process")}
        expected |= {"interfaces": "['lo']", "mount": "EPERM" if locked else "EINVAL"}
    if not locked:
        expected["reading below"] = seen["reading below"]
    assert seen == expected
    assert sorted(os.listdir(tmp_path)) == ["other", "root", "second", "third"]  # noqa: PTH208


@pytest.mark.alone
@pytest.mark.parametrize("without", ["", "landlock", "seccomp"])
def test_a_confined_process_writes_to_one_directory_at_a_time(folders: list[Path], without: str) -> None:
    _, seen = run(SEVERAL, without, *folders)
    assert seen == {
        "the working directory": "['b']",
        "the first by ..": "['b']",
        "the root": "['a']",
        "writing to the root": "EROFS",
        "chmod in the root": "EROFS",
        "seeing the first": "0",
        "listing the first": "['file']",
        "writing to the first": "EROFS",
        "a new file in the first": "EROFS",
        "removing from the first": "EROFS",
        "chmod in the first": "EROFS",
        "chown in the first": "EROFS",
        "times in the first": "EROFS",
        "a link to the first": "EXDEV",
        "the host's files": "ENOENT",
        "the host's files from outside of the root": "ENOENT",
        "the first's by its neighbour": "EROFS",
        "the third": "[]",
        "the host's root": "EPERM",
    }
