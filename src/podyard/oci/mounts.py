"""The mounts of a container: OCI runtime spec "Mounts", CRI ``Mount``, and the defaults that every container gets."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.linux.userns import IdMap
from podyard.oci import idmaps
from podyard.oci.host import HostFacts

Mount = dict[str, Any]

HOST_SHM = "/dev/shm"

KERNEL_OPTIONS = ["nosuid", "noexec", "nodev"]

TTY_GROUP = 5
"""The group "tty" on every distribution."""

DEFAULT_MOUNTS: tuple[Mount, ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": KERNEL_OPTIONS},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", f"gid={TTY_GROUP}"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": KERNEL_OPTIONS},
)
"""Those that are the same for every container."""

WRITABLE_WHEN_PRIVILEGED: tuple[Mount, ...] = (
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": KERNEL_OPTIONS},
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": [*KERNEL_OPTIONS, "relatime"],
    },
)
"""The OCI runtimes make of type "cgroup" what fits: the v2 tree, or one bind mount a controller on v1."""

EXTRA_OPTIONS = {
    "noexec": "exec",
    "exec": "noexec",
    "nodev": "dev",
    "dev": "nodev",
    "nosuid": "suid",
    "suid": "nosuid",
    "noatime": "atime",
    "nodiratime": "diratime",
    "relatime": "norelatime",
    "strictatime": "nostrictatime",
}
"""What ``mount_options`` may ask for, and the option that each contradicts."""

PROPAGATION = {
    api.PROPAGATION_PRIVATE: "rprivate",
    api.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    api.PROPAGATION_BIDIRECTIONAL: "rshared",
}
"""The mount option of each CRI MountPropagation (mount_namespaces(7), "Shared subtrees")."""


def container_mounts(
    requested: Iterable[api.Mount],
    *,
    files: Mapping[str, Path],
    shm: Path | None,
    readonly_rootfs: bool,
    privileged: bool,
    own: IdMap | None = None,
    host_network: bool = False,
) -> list[Mount]:
    """All mounts of a container, in the order in which they are made.

    First the defaults, without those that the request replaces: one at the same path, and all below /dev where it
    mounts its own /dev. Then the request's, the pod's files and /dev/shm, sorted by depth, so that no mount hides
    another; at one depth the request's order stands.

    ``requested``: checked, with host paths that exist and hold no links; images, idmapped and recursively read-only
    mounts are made elsewhere, and only to be bound here. ``files``: container path → host file of /etc/hosts and its
    like, writable unless the rootfs is read-only. ``shm``: the pod's /dev/shm, None with host IPC. ``own``: the map of
    the pod's user namespace, None for the host's.

    Raises InvalidArgument, naming the mount and the field.
    """
    chosen = [_requested(mount) for mount in requested]
    taken = {mount["destination"] for mount in chosen}
    access = "ro" if readonly_rootfs else "rw"
    provided = [_bind(path, str(source), ["rbind", "rprivate", access]) for path, source in files.items()]
    provided.append(_bind("/dev/shm", str(shm or HOST_SHM), ["rbind", "rprivate", "rw"]))
    chosen += [mount for mount in provided if mount["destination"] not in taken]
    standard = default_mounts(privileged=privileged, own=own, host_network=host_network)
    defaults = [mount for mount in standard if not _replaced(mount["destination"], taken)]
    return defaults + sorted(chosen, key=lambda mount: depth(mount["destination"]))


def default_mounts(*, privileged: bool, own: IdMap | None = None, host_network: bool = False) -> list[Mount]:
    """/proc, /dev and what lies in it, /sys and the cgroup tree: the last two are writable for the privileged alone.

    In a user namespace the kernel mounts sysfs only for the owner of the network namespace: with the host's, the host's
    /sys is bound. A group that the namespace has not cannot own terminals.
    """
    access = "rw" if privileged else "ro"
    mounts = [_copy(mount) for mount in DEFAULT_MOUNTS]
    for mount in WRITABLE_WHEN_PRIVILEGED:
        mounts.append(_copy(mount, access))
    if own is None:
        return mounts
    for mount in mounts:
        if mount["destination"] == "/sys" and host_network:
            mount.update(type="bind", source="/sys", options=["rbind", "rprivate", *mount["options"]])
        if own.gid(TTY_GROUP) is None:
            mount["options"] = [option for option in mount["options"] if option != f"gid={TTY_GROUP}"]
    return mounts


def infra_mounts() -> list[Mount]:
    """What an OCI runtime needs to start a process at all: /proc, and a /dev that keeps its nodes out of the root."""
    return [_copy(mount) for mount in DEFAULT_MOUNTS if mount["destination"] in {"/proc", "/dev"}]


def rootfs_propagation(requested: Iterable[api.Mount]) -> str:
    """OCI ``linux.rootfsPropagation``: what the widest mount of the request needs, "" for the runtime's default.

    A mount takes part in propagation only if the mount that holds it does, too.
    """
    wanted = {PROPAGATION.get(mount.propagation) for mount in requested}
    return next((option for option in ("rshared", "rslave") if option in wanted), "")


def depth(path: str) -> int:
    """How many names a normalized absolute path has; 0 for "/"."""
    return len([name for name in path.split("/") if name])


def has_image(mount: api.Mount) -> bool:
    """Whether an image is to be mounted, not a host path."""
    return mount.HasField("image") and bool(mount.image.image)


def id_map(mount: api.Mount) -> IdMap:
    """The mappings of an idmapped mount. Raises InvalidArgument for what cannot be a map."""
    where = f"mount at {mount.container_path!r}"
    return idmaps.of_mappings(mount.uidMappings, mount.gidMappings, (f"{where}: uidMappings", f"{where}: gidMappings"))


def check(requested: Iterable[api.Mount], own: IdMap | None, host: HostFacts) -> None:
    """Refuse mounts that cannot be, before anything is made. ``own``: the map of the sandbox's user namespace.

    Raises InvalidArgument or FailedPrecondition, naming the mount and the field.
    """
    for mount in requested:
        destination = _absolute(mount.container_path, "container_path")
        where = f"mount of {mount.image.image or mount.host_path!r} at {destination}"
        if destination == "/":
            raise InvalidArgument(f"{where}: the container's root cannot be a mount of the request")
        _check_source(mount, own, where, destination)
        _check_read_only(mount, where, host)
        _propagation(mount, where)
        _extra(mount, where)
        # selinux_relabel means nothing where there is no SELinux: the kubelet's clients set it all the same.


def _check_source(mount: api.Mount, own: IdMap | None, where: str, destination: str) -> None:
    mapped = bool(mount.uidMappings or mount.gidMappings)
    if not has_image(mount):
        if mount.image_sub_path:
            raise InvalidArgument(f"{where}: image_sub_path is set without image")
        _absolute(mount.host_path, f"host_path (for {destination})")
        if mapped:
            id_map(mount)
        return
    if mount.host_path:
        raise InvalidArgument(f"{where}: it has both image and host_path")
    if not mount.readonly:
        raise InvalidArgument(f"{where}: an image cannot be written to, so the mount must be readonly")
    if mount.propagation != api.PROPAGATION_PRIVATE:
        raise InvalidArgument(f"{where}: an image has no propagation but the private one")
    if "\0" in mount.image_sub_path or mount.image_sub_path.startswith("/"):
        raise InvalidArgument(f"{where}: image_sub_path {mount.image_sub_path!r} is not a path relative to the image")
    if mapped and id_map(mount) != own:
        raise InvalidArgument(f"{where}: the mappings of an image are those of its pod's user namespace")


def _check_read_only(mount: api.Mount, where: str, host: HostFacts) -> None:
    """Kubernetes enhancement 3857: recursive_read_only needs readonly and private propagation."""
    if not mount.recursive_read_only:
        return
    if not mount.readonly:
        raise InvalidArgument(f"{where}: recursive_read_only needs readonly")
    if mount.propagation != api.PROPAGATION_PRIVATE:
        raise InvalidArgument(f"{where}: recursive_read_only needs private propagation")
    if not host.recursive_read_only:
        raise FailedPrecondition(f"{where}: recursive_read_only needs Linux 5.12 or newer")


def _requested(mount: api.Mount) -> Mount:
    destination = _absolute(mount.container_path, "container_path")
    where = f"mount of {mount.host_path!r} at {destination}"
    options = ["rbind", _propagation(mount, where), "ro" if mount.readonly else "rw"]
    return _bind(destination, mount.host_path, options + _extra(mount, where))


def _absolute(path: str, field: str) -> str:
    """The path without "." and ".." and double slashes."""
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"mounts: {field} {path!r} is not an absolute path")
    return "/" + posixpath.normpath(path).lstrip("/")


def _propagation(mount: api.Mount, where: str) -> str:
    option = PROPAGATION.get(mount.propagation)
    if option is None:
        raise InvalidArgument(f"{where}: there is no propagation {mount.propagation}")
    return option


def _extra(mount: api.Mount, where: str) -> list[str]:
    """``mount_options``, each once and in order (Kubernetes passes bind options such as noexec)."""
    wanted = list(dict.fromkeys(mount.mount_options))
    for option in wanted:
        if option not in EXTRA_OPTIONS:
            known = ", ".join(sorted(EXTRA_OPTIONS))
            raise InvalidArgument(f"{where}: mount_options has {option!r}, allowed are {known}")
        if EXTRA_OPTIONS[option] in wanted:
            raise InvalidArgument(f"{where}: mount_options has both {option!r} and {EXTRA_OPTIONS[option]!r}")
    return wanted


def _bind(destination: str, source: str, options: list[str]) -> Mount:
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def _copy(mount: Mount, *more: str) -> Mount:
    return {**mount, "options": [*mount["options"], *more]}


def _replaced(destination: str, taken: set[str]) -> bool:
    return destination in taken or (destination.startswith("/dev/") and "/dev" in taken)
