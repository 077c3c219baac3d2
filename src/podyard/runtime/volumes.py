"""The host side of a container's mounts: host paths resolved or made, private copies, images, volumes of the image.

Everything here may block on a slow or hung file system: it runs in a thread, under a step's time limit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.cri import api
from podyard.errors import Internal, InvalidArgument
from podyard.linux import idmap, userns
from podyard.linux.resolve import open_in_root
from podyard.oci import mounts
from podyard.runtime import rootfs
from podyard.runtime.relabel import relabel
from podyard.runtime.rootfs import Owners

COPY_LIMIT = 100.0
"""Seconds for copying the image's content into one of its volumes."""


@dataclass(frozen=True)
class Places:
    """Where a container's volumes are made. ``mounts``: goes with the bundle. ``writable``: stays with the container.

    ``owners``: of its sandbox's user namespace, None for the host's. ``label``: SELinux' for its files, "" for none.
    ``images``: the layers of each image that a mount names, by that name.
    """

    mounts: Path
    writable: Path
    owners: Owners | None
    label: str
    images: Mapping[str, Sequence[Path]]


def prepare(requested: Iterable[api.Mount], places: Places) -> list[api.Mount]:
    """The request's mounts as plain bind mounts of host paths that exist and hold no links.

    A path that is missing is made, a directory. What the OCI runtime does not know is mounted in a private place, and
    that is what remains to be bound: idmapped and recursively read-only mounts, and images.

    Raises InvalidArgument, naming the path, for one that is not absolute, cannot be used or may not be relabelled,
    FailedPrecondition when a file system cannot be idmapped.
    """
    prepared = []
    for number, mount in enumerate(requested):
        copy = api.Mount()
        copy.CopyFrom(mount)
        if mounts.has_image(mount):
            copy.host_path = str(_mount_image(mount, str(number), places))
        else:
            copy.host_path = str(_resolve(mount))
            if mount.selinux_relabel and places.label:
                relabel(Path(copy.host_path), places.label)
            if mount.uidMappings or mount.recursive_read_only:
                copy.host_path = str(_private(copy, str(number), places))
        for field in ("image", "image_sub_path", "uidMappings", "gidMappings", "recursive_read_only"):
            copy.ClearField(field)
        prepared.append(copy)
    return prepared


def _private(mount: api.Mount, number: str, places: Places) -> Path:
    """A copy of a mount with other owners, or that is read-only at all depths."""
    target = places.mounts / number
    with contextlib.ExitStack() as stack:
        userns = stack.enter_context(_userns(mount, places.owners)) if mount.uidMappings else None
        idmap.private_bind(
            mount.host_path,
            target,
            userns=userns,
            read_only=mount.recursive_read_only,
            propagates=mount.propagation != api.PROPAGATION_PRIVATE,
        )
    return target


@contextlib.contextmanager
def _userns(mount: api.Mount, owners: Owners | None) -> Iterator[int]:
    """A descriptor of a user namespace with a mount's mappings: as a rule they are those of the pod."""
    wanted = mounts.id_map(mount)
    if owners is None or wanted != owners.id_map:
        with userns.opened(wanted) as descriptor:
            yield descriptor
        return
    with owners.pin.open("rb") as file:
        yield file.fileno()


def _mount_image(mount: api.Mount, number: str, places: Places) -> Path:
    """An image, or the directory of it that ``image_sub_path`` names, whatever links the image has on the way."""
    whole = places.mounts / f"{number}-image"
    rootfs.mount(places.images[mount.image.image], places.writable / f"image-{number}", whole, places.owners)
    if not mount.image_sub_path:
        return whole
    where = f"the mount at {mount.container_path}: {mount.image_sub_path!r} of image {mount.image.image}"
    try:
        found = open_in_root(whole, mount.image_sub_path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise InvalidArgument(f"{where} is no directory there: {error.strerror}") from error
    try:
        target = places.mounts / number
        idmap.private_bind(f"/proc/self/fd/{found}", target)
    finally:
        os.close(found)
    return target


def fill(declared: Sequence[str], requested: Sequence[api.Mount], root: Path, folder: Path) -> list[api.Mount]:
    """A mount for each volume that the image declares and the request mounts nothing at.

    Each gets a directory below ``folder`` with what the image has at that path (image spec, config.md, Volumes: what
    containerd and docker do with them).
    """
    taken = {os.path.normpath(mount.container_path) for mount in requested}
    made = []
    for number, declared_path in enumerate(sorted(declared)):
        path = os.path.normpath(f"/{declared_path.lstrip('/')}")
        if path in taken or path == "/":
            continue
        target = folder / str(number)
        target.mkdir(mode=0o755, parents=True)
        _copy_up(root, path, target)
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


def _copy_up(root: Path, path: str, target: Path) -> None:
    """Copy a directory of the image with its owners, modes and links. What the image lacks leaves the volume empty."""
    try:
        source = open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
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
