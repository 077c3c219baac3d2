"""A root file system out of the host's own static busybox: for images that are made on the spot, from no registry."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from podyard.errors import FailedPrecondition
from podyard.images.layout import Entry, directory, file, hardlink

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What such an image has in its environment."""

PASSWD = """root:x:0:0:root:/root:/bin/sh
member:x:1000:1000:member:/member-home:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
"""
GROUP = """root:x:0:
member:x:1000:
large:x:50000:member
nogroup:x:65534:
"""


def find() -> Path:
    """The host's static busybox. Raises FailedPrecondition where there is none."""
    found = shutil.which("busybox")
    if found is None:
        raise FailedPrecondition(
            "busybox is not installed, and images are made of it here: Debian has it in busybox-static"
        )
    if not _is_static(Path(found)):
        raise FailedPrecondition(
            f"{found} is not statically linked, so it cannot run in an image: Debian has one that is in busybox-static"
        )
    return Path(found)


def tree(busybox: Path) -> dict[str, Entry]:
    """busybox under the names of all its applets, with users root, member (also in group 50000) and nobody."""
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=20).stdout.split()
    entries = {
        "bin": directory(),
        "bin/busybox": file(busybox, mode=0o755),
        "etc": directory(),
        "etc/passwd": file(PASSWD),
        "etc/group": file(GROUP),
        "member-home": directory(uid=1000, gid=1000),
        "root": directory(mode=0o700),
        "tmp": directory(mode=0o1777),
    }
    entries.update({f"bin/{name}": hardlink("bin/busybox") for name in applets if name != "busybox"})
    return entries


def _is_static(path: Path) -> bool:
    """Whether an ELF program names no interpreter (ELF specification, program header PT_INTERP = 3)."""
    with path.open("rb") as program:
        head = program.read(64)
        if head[:4] != b"\x7fELF":
            return False
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        offset = struct.unpack_from(f"{order}Q", head, 32)[0] if wide else struct.unpack_from(f"{order}I", head, 28)[0]
        size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
        program.seek(offset)
        table = program.read(size * count)
    kinds = {struct.unpack_from(f"{order}I", table, size * number)[0] for number in range(count)}
    return 3 not in kinds
