"""A confined process has its root directory and little else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.host

PROGRAM = """
import errno, json, os, resource, socket, sys
from podyard.linux import confine, libc
root, other = sys.argv[1:]
below = os.open(other, os.O_PATH | os.O_DIRECTORY)
kept = open(os.path.join(other, "kept"), "rb", buffering=0)
confine.isolate()
locked = confine.confine(root, (confine.CAP_DAC_OVERRIDE, confine.CAP_MKNOD, confine.CAP_SYS_ADMIN), {
    resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 40}, read_only=[below])

def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return errno.errorcode[error.errno]

write = os.O_WRONLY | os.O_CREAT
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
    "chroot": attempt(lambda: os.chroot("/a")),
    "chown": attempt(lambda: os.chown("/a", 5, 5)),
    "mount": attempt(lambda: libc.mount("none", "/a", "tmpfs", 0, "")),
    "interfaces": attempt(lambda: [name for _, name in socket.if_nameindex()]),
}
print(json.dumps([locked, seen]))
"""


@pytest.mark.alone
def test_a_confined_process_reaches_its_root_and_nothing_else(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "kept").write_text("kept")
    before = Path("/proc/self/mountinfo").read_text()
    ran = subprocess.run([sys.executable, "-c", PROGRAM, root, other], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    locked, seen = json.loads(ran.stdout)
    expected = {
        "link across folders": "None",
        "what was open": "b'kept'",
        "the host by ..": "['a', 'b', 'null']",
        "a device": "EACCES",
        "listing below": "['kept']",
        "reading below": "EACCES",
        "writing below": "EACCES",
        "out of below": "EACCES",
        "chroot": "EPERM",
        "chown": "EPERM",
        "mount": "EPERM",
        "interfaces": "['lo']",
    }
    if not locked:
        for name in ("reading below", "writing below", "out of below", "mount"):
            del expected[name], seen[name]
    assert seen == expected
    assert Path("/proc/self/mountinfo").read_text() == before
    assert sorted(os.listdir(tmp_path)) == ["other", "root"]  # noqa: PTH208
