"""Copies of mounts with other owners or attributes, made in a private place (mount_setattr(2), open_tree(2)).

The OCI runtimes of today's distributions know neither idmapped nor recursively read-only mounts. podyard makes them
itself and hands a plain bind mount on. Needs Linux 5.12, and 5.19 for idmapped layers of an overlay.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from podyard.errors import FailedPrecondition
from podyard.linux import libc, mounts
from podyard.linux.userns import IdMap

CAPABILITY = "security.capability"
_VFS_CAP_REVISION_3 = 0x03000000
_VFS_CAP_FLAGS = 0x00FFFFFF


def available() -> bool:
    """Whether the kernel changes attributes of a copied mount at all (Linux 5.12)."""
    try:
        tree = libc.open_tree("/", recursive=False)
        try:
            libc.mount_setattr(tree, libc.MOUNT_ATTR_RDONLY, recursive=True)
        finally:
            os.close(tree)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            return False
        raise
    return True


def private_bind(
    source: str, target: Path, *, userns: int | None = None, read_only: bool = False, propagates: bool = False
) -> None:
    """Bind ``source`` and all that is mounted below it at ``target``, with attributes that its other mounts lack.

    ``userns``: a descriptor of the user namespace whose map the mount gets. ``read_only``: at all depths.
    ``propagates``: later mounts show on both sides, as far as ``source`` lets them. ``target`` is made: a file for a
    file, else a directory.

    Raises FailedPrecondition when a file system below ``source`` cannot be idmapped, OSError for anything else.
    """
    tree = libc.open_tree(source, recursive=True)
    try:
        if userns is not None:
            _set_map(tree, userns, source, recursive=True)
        attributes = libc.MOUNT_ATTR_RDONLY if read_only else 0
        libc.mount_setattr(tree, attributes, recursive=True, propagation=0 if propagates else libc.MS_PRIVATE)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            target.touch()
        libc.move_mount(tree, str(target))
    finally:
        os.close(tree)


@contextlib.contextmanager
def mapped_layers(layers: Sequence[Path], folder: Path, userns: int) -> Iterator[list[Path]]:
    """Paths under which the layers have the owners of a user namespace, for as long as the block lasts.

    An overlay that was mounted of them keeps them. ``folder``: a place for the mounts in between, which goes with them.
    The paths are those of descriptors: mount(2) takes 4,095 bytes of options, and these are short.

    Raises FailedPrecondition when the layers' file system cannot be idmapped, OSError for anything else.
    """
    with contextlib.ExitStack() as stack:
        found = []
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.callback(folder.rmdir)
        for number, layer in enumerate(layers):
            tree = libc.open_tree(str(layer), recursive=False)
            stack.callback(os.close, tree)
            _set_map(tree, userns, str(layer), recursive=False)
            place = folder / str(number)
            place.mkdir(exist_ok=True)
            stack.callback(place.rmdir)
            # An overlay takes no layer that is attached nowhere.
            libc.move_mount(tree, str(place))
            stack.callback(mounts.unmount, place)
            found.append(Path(f"/proc/self/fd/{tree}"))
        yield found


def change_owners(root: Path, id_map: IdMap) -> None:
    """Give every file below ``root`` the owner and group that the map has for its own: where no idmapped mount can be.

    Setuid bits and file capabilities are kept, the latter for the namespace's root (capabilities(7), "Namespaced file
    capabilities"). An owner that the map has not becomes the namespace's root.

    Raises OSError.
    """
    for _, folders, names, folder in os.fwalk(root, follow_symlinks=False):
        for name in (*folders, *names):
            _change_owner(folder, name, id_map)
    with _directory(root) as parent:
        _change_owner(parent, ".", id_map)


def _set_map(tree: int, userns: int, source: str, *, recursive: bool) -> None:
    try:
        libc.mount_setattr(tree, libc.MOUNT_ATTR_IDMAP, recursive=recursive, userns=userns)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
        raise FailedPrecondition(
            f"the owners of {source} cannot be mapped into a user namespace: its file system, or one mounted below it, "
            f"has no idmapped mounts ({error.strerror})"
        ) from error


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _change_owner(folder: int, name: str, id_map: IdMap) -> None:
    status = os.lstat(name, dir_fd=folder)
    uid = id_map.uid(status.st_uid)
    gid = id_map.gid(status.st_gid)
    root_uid, root_gid = id_map.root
    path = f"/proc/self/fd/{folder}/{name}"
    capability = _capability(path) if stat.S_ISREG(status.st_mode) else b""
    os.chown(
        name,
        root_uid if uid is None else uid,
        root_gid if gid is None else gid,
        dir_fd=folder,
        follow_symlinks=False,
    )
    if stat.S_ISLNK(status.st_mode):
        return
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=folder)
    if capability:
        os.setxattr(path, CAPABILITY, _for_root(capability, root_uid), follow_symlinks=False)


def _capability(path: str) -> bytes:
    try:
        return os.getxattr(path, CAPABILITY, follow_symlinks=False)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return b""
        raise


def _for_root(value: bytes, root_uid: int) -> bytes:
    """struct vfs_ns_cap_data (linux/capability.h): the same capabilities, for another root."""
    (magic,) = struct.unpack_from("<I", value)
    sets = value[4:20].ljust(16, b"\0")
    return struct.pack("<I", magic & _VFS_CAP_FLAGS | _VFS_CAP_REVISION_3) + sets + struct.pack("<I", root_uid)
