#!/usr/bin/env python3
"""Makes the example image, an OCI layout, out of this host's own static busybox (Debian: busybox-static).

usage: examples/make_image.py FOLDER          then: podyard load FOLDER
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from podyard.images.layout import Entry, LayoutWriter, directory, file, hardlink

TAG = "localhost/podyard-example:1"


def busybox_tree() -> dict[str, Entry]:
    """A root file system: busybox under the names of all its applets, and two users."""
    found = shutil.which("busybox")
    if found is None:
        raise SystemExit("there is no busybox on this host (Debian: apt-get install busybox-static)")
    applets = subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split()
    tree = {
        "bin": directory(),
        "bin/busybox": file(Path(found), mode=0o755),
        "etc": directory(),
        "etc/passwd": file("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
        "etc/group": file("root:x:0:\nnogroup:x:65534:\n"),
        "root": directory(mode=0o700),
        "tmp": directory(mode=0o1777),
    }
    tree.update({f"bin/{name}": hardlink("bin/busybox") for name in applets if name != "busybox"})
    return tree


def main(arguments: list[str]) -> None:
    """Write the layout."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    layout = LayoutWriter(Path(arguments[0]))
    layout.add_image([busybox_tree()], tags=[TAG], config={"Cmd": ["sh"], "Env": ["PATH=/bin"]})


if __name__ == "__main__":
    main(sys.argv[1:])
