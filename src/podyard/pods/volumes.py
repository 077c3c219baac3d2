"""The host side of a Pod's volumes.

All functions may block on a slow or hung file system: for a thread, under a time limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.manifest.checks.paths import sub_path_fault
from podyard.manifest.model import Container, Pod, Volume, VolumeMount
from podyard.manifest.translate import expand
from podyard.manifest.translate.resources import page_of
from podyard.pods.atomic import DATA
from podyard.pods.folders import PodFolder
from podyard.pods.host_mounts import bind_descriptor, mount_huge_pages, mount_tmpfs
from podyard.pods.verdict import make_room

_DIRECTORY_MODE = 0o777
"""An emptyDir is for whatever users the containers run as."""


def prepare(pod: Pod, folder: PodFolder) -> None:
    """Make the Pod's directory and those of its volumes, and check or make the host paths.

    What an earlier sandbox of the Pod left in its volumes stays. Raises FailedPrecondition when a host path is not what
    its type says.
    """
    folder.path.mkdir(mode=0o750, parents=True, exist_ok=True)
    make_room(folder)
    for volume in pod.spec.volumes:
        if volume.host_path is not None:
            _check_host_path(volume.name, Path(volume.host_path.path), volume.host_path.type)
        elif volume.empty_dir is not None:
            _make_empty_dir(pod, volume, folder.volume(volume.name))
        elif volume.projection is not None:
            _make_projection(volume, folder.volume(volume.name))


def source(
    pod: Pod, folder: PodFolder, container: Container, *, attempt: int, index: int, variables: Mapping[str, str]
) -> Path:
    """The host path of a container's ``index``-th volume mount.

    A part of a volume (subPath) is opened without following a link that a container may have put there, and mounted
    on a place of the Pod's own, so that nothing can be exchanged afterwards. Raises InvalidArgument where a link is in
    the way.
    """
    mount = container.volume_mounts[index]
    volume = next(volume for volume in pod.spec.volumes if volume.name == mount.name)
    whole = Path(volume.host_path.path) if volume.host_path is not None else folder.volume(volume.name)
    part = part_of(mount, variables)
    if not part:
        return whole
    if volume.projection is not None:
        whole = (whole / DATA).resolve()  # no container can write there: the link is podyard's
    target = folder.sub_path(container.name, attempt, index)
    descriptor = _open_part(whole, part)
    try:
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(mode=0o750)
        else:
            target.touch(mode=0o640)
        bind_descriptor(descriptor, target)
    finally:
        os.close(descriptor)
    return target


def _make_empty_dir(pod: Pod, volume: Volume, path: Path) -> None:
    assert volume.empty_dir is not None
    if path.is_mount() if volume.empty_dir.medium else path.exists():
        return
    path.mkdir(mode=0o755, parents=True, exist_ok=True)  # of memory, the mount point outlives a reboot
    group = pod.spec.security_context.fs_group
    # with fsGroup new files belong to that group too
    mode = _DIRECTORY_MODE if group is None else _DIRECTORY_MODE | stat.S_ISGID
    if volume.empty_dir.medium == "Memory":
        mount_tmpfs(path, _memory_size(pod, volume), _DIRECTORY_MODE)
    elif volume.empty_dir.medium:
        mount_huge_pages(path, page_of(pod, volume.empty_dir.medium), _size_limit(volume), _DIRECTORY_MODE)
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(mode)


def _make_projection(volume: Volume, path: Path) -> None:
    """A directory for files from elsewhere. What may hold secrets is never written to a disk."""
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if volume.config_map is None and not path.is_mount():
        mount_tmpfs(path, None, 0o755)


def _memory_size(pod: Pod, volume: Volume) -> int | None:
    """The volume's limit, and no more than the containers may use together; None where neither is set."""
    limits = [container.resources.limits.get("memory") for container in pod.spec.containers]
    known = [limit.value for limit in limits if limit is not None]
    sizes = [sum(known)] if len(known) == len(limits) else []
    if (size := _size_limit(volume)) is not None:
        sizes.append(size)
    return min(sizes, default=None)


def _size_limit(volume: Volume) -> int | None:
    given = volume.empty_dir.size_limit if volume.empty_dir is not None else None
    return None if given is None else given.value


_KINDS: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def _check_host_path(volume: str, path: Path, kind: str) -> None:
    if not kind:
        return  # anything, or nothing: then the endpoint makes a directory
    what = f"volume {volume!r}: the host path {path}"
    try:
        if kind == "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            path.touch(mode=0o644, exist_ok=True)
        mode = path.stat().st_mode
    except FileExistsError:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        missing = f"its directory {path.parent} does not exist" if kind == "FileOrCreate" else "it does not exist"
        raise FailedPrecondition(f"{what} must be {_KINDS[kind][1]} (type {kind}), but {missing}") from error
    fits, name = _KINDS[kind]
    if not fits(mode):
        raise FailedPrecondition(f"{what} must be {name} (type {kind}), but it is something else")


def part_of(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    """The part of its volume that is mounted; "" for all of it. Raises InvalidArgument for one that leads out of it."""
    if not mount.sub_path_expr:
        return mount.sub_path
    part = expand(mount.sub_path_expr, variables)
    if fault := sub_path_fault(part):
        raise InvalidArgument(f"subPathExpr {mount.sub_path_expr!r} of volume {mount.name!r}: {fault}")
    return part


def _open_part(whole: Path, part: str) -> int:
    """A descriptor (O_PATH) of ``part`` below ``whole``; what is missing is made, with the volume's own mode."""
    current = os.open(whole, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(current).st_mode)
        for name in [name for name in part.split("/") if name not in ("", ".")]:
            below = _open_one(current, name, mode, whole)
            os.close(current)
            current = below
    except BaseException:
        os.close(current)
        raise
    return current


def _open_one(folder: int, name: str, mode: int, whole: Path) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        found = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(name, mode, dir_fd=folder)
        found = os.open(name, flags, dir_fd=folder)
        _set_mode(found, mode)
    except NotADirectoryError as error:
        raise InvalidArgument(f"subPath in {whole}: {name!r} stands below something that is no directory") from error
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise InvalidArgument(f"subPath in {whole}: {name!r} is a link, and links are not followed out of a volume")
    return found


def _set_mode(found: int, mode: int) -> None:
    """The mode without the umask; a name may have been exchanged for another by now, the descriptor may not."""
    if stat.S_ISDIR(os.fstat(found).st_mode):
        Path(f"/proc/self/fd/{found}").chmod(mode)
