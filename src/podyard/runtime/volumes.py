"""The host side of a container's mounts: host paths resolved or made, volumes of the image filled.

Everything here may block on a slow or hung file system: it runs in a thread, under a step's time limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from podyard.cri import api
from podyard.errors import Internal, InvalidArgument
from podyard.linux.resolve import open_in_root

COPY_LIMIT = 100.0
"""Seconds for copying the image's content into one of its volumes."""


def resolve_host_paths(mounts: Iterable[api.Mount]) -> list[api.Mount]:
    """The request's mounts with the links in their host paths resolved; a path that is missing is made, a directory.

    Raises InvalidArgument, naming the path, for one that is not absolute or cannot be made.
    """
    resolved = []
    for mount in mounts:
        copy = api.Mount()
        copy.CopyFrom(mount)
        if not mount.HasField("image"):
            copy.host_path = str(_resolve(mount))
        resolved.append(copy)
    return resolved


def fill(declared: Sequence[str], mounts: Sequence[api.Mount], rootfs: Path, folder: Path) -> list[api.Mount]:
    """A mount for each volume that the image declares and the request mounts nothing at.

    Each gets a directory below ``folder`` with what the image has at that path (image spec, config.md, Volumes: what
    containerd and docker do with them).
    """
    taken = {os.path.normpath(mount.container_path) for mount in mounts}
    made = []
    for number, declared_path in enumerate(sorted(declared)):
        path = os.path.normpath(f"/{declared_path.lstrip('/')}")
        if path in taken or path == "/":
            continue
        target = folder / str(number)
        target.mkdir(mode=0o755, parents=True)
        _copy_up(rootfs, path, target)
        made.append(api.Mount(container_path=path, host_path=str(target)))
    return made


def _resolve(mount: api.Mount) -> Path:
    if not mount.host_path.startswith("/") or "\0" in mount.host_path:
        raise InvalidArgument(
            f"the mount at {mount.container_path} has the host path {mount.host_path!r}: it must be absolute"
        )
    try:
        path = Path(mount.host_path).resolve()
        if not path.exists():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise InvalidArgument(f"cannot use the host path {mount.host_path}: {error}") from error
    return path


def _copy_up(rootfs: Path, path: str, target: Path) -> None:
    """Copy a directory of the image with its owners, modes and links. What the image lacks leaves the volume empty."""
    try:
        source = open_in_root(rootfs, path, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        # The descriptor's path cannot be led out of the root by a link in the image.
        inside = f"/proc/self/fd/{source}"
        shutil.copystat(inside, target)
        owner = os.fstat(source)
        os.chown(target, owner.st_uid, owner.st_gid)
        command = ["cp", "--archive", "--no-target-directory", f"{inside}/.", str(target)]
        result = subprocess.run(
            command, pass_fds=(source,), capture_output=True, timeout=COPY_LIMIT, text=True, check=False
        )
    finally:
        os.close(source)
    if result.returncode != 0:
        raise Internal(f"cannot copy the image's {path} into its volume: {result.stderr.strip()}")
