"""A process gives up what it does not need, before it reads hostile input. There is no way back."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from podyard.linux import landlock, libc, seccomp

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_FOWNER = 3
CAP_FSETID = 4
CAP_SYS_ADMIN = 21
CAP_MKNOD = 27
CAP_SETFCAP = 31

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_MOUNT_FLAGS = libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV | libc.MOUNT_ATTR_NOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CAPABILITY_VERSION_3 = 0x20080522
_ALL_IN_ROOT = (
    landlock.READ_FILE
    | landlock.WRITE_FILE
    | landlock.READ_FOLDER
    | landlock.REMOVE
    | landlock.MAKE
    | landlock.REFER
    | landlock.TRUNCATE
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.capset.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


def isolate() -> None:
    """Give this process a network and an IPC namespace of its own, with nothing in them. Raises OSError.

    A process that forks others calls it once for all of them.
    """
    libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWIPC)
    _last_capability()
    seccomp.program()


class Confined:
    """What a confined process has. Its working directory is the first of the directories that it was given.

    ``read_only``: descriptors of those that it may look at. ``locked``: whether Landlock is in force.
    """

    def __init__(self, roots: Sequence[int], left: Sequence[int], read_only: Sequence[int]) -> None:
        self.read_only = read_only
        self.locked = landlock.restrict(
            {**dict.fromkeys([*read_only, *left], landlock.READ_FOLDER), **dict.fromkeys(roots, _ALL_IN_ROOT)}
        )
        self._roots = deque(roots)
        self._left = deque(left)

    def advance(self) -> int:
        """Go on to the next directory, which is the working directory from now on.

        A descriptor of the one before: it can be looked at as those in ``read_only``, but not be written to any more.
        Raises OSError, IndexError when there is no other.
        """
        os.fchdir(self._roots[1])
        # Nothing else holds the mount that can be written to.
        os.close(self._roots.popleft())
        return self._left.popleft()


def confine(
    roots: Sequence[str], capabilities: Iterable[int], limits: Mapping[int, int], read_only: Sequence[str] = ()
) -> Confined:
    """Make the first of ``roots`` this process' working directory and root and leave it only ``capabilities``.

    It can ``advance`` to the others, one after the other; then its root is the first all the time, read-only. Each is
    the root of a mount of its own, and what is ``read_only`` is in mounts that are: none is attached anywhere, so that
    no path leads from them to the host's files (open_tree(2), Linux 5.2; mount_setattr(2), 5.12). It opens no device in
    them and can gain no privileges by executing anything. Where the kernel has Landlock it can open files in ``roots``
    alone, read the directories that are ``read_only``, and mount nothing; with libseccomp it cannot do what acts on
    mounts, namespaces, other processes or the host (seccomp.py). ``limits``: resource limits (``resource.RLIMIT_…``) to
    set, soft and hard; none is raised.

    Not for ``capabilities``: CAP_SYS_CHROOT. It is still in the host's mount namespace, and setns(2) into that, which
    takes it, would make the host's root its own.

    The process must be single-threaded. What is open stays open. Raises OSError when the kernel refuses.
    """
    # Before the host's files are out of reach.
    last = _last_capability()
    seccomp.program()
    below = list(_read_only([*read_only, *roots[:-1]]))
    folders = [_mount(root, _MOUNT_FLAGS) for root in roots]
    os.fchdir(below[len(read_only)] if len(roots) > 1 else folders[0])
    os.chroot(".")
    os.fchdir(folders[0])
    for number, wanted in limits.items():
        hard = resource.getrlimit(number)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (least, least))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    confined = Confined(folders, below[len(read_only) :], below[: len(read_only)])
    _keep(frozenset(capabilities), last)
    seccomp.restrict()
    return confined


def _mount(folder: str, flags: int) -> int:
    mount = libc.open_tree(folder, recursive=False)
    try:
        libc.mount_setattr(mount, flags, recursive=False, propagation=libc.MS_PRIVATE)
        return os.open(".", _FOLDER, dir_fd=mount)
    finally:
        # With its first descriptor a mount leaves even the namespace that it was made in: none can change its flags.
        os.close(mount)


def _read_only(folders: Iterable[str]) -> Iterator[int]:
    """A descriptor of each. Those that lie side by side share a mount: hundreds would take long to make and to end."""
    mounts: dict[str, int] = {}
    for folder in folders:
        parent, name = os.path.split(folder)
        if parent not in mounts:
            mounts[parent] = _mount(parent, _MOUNT_FLAGS | libc.MOUNT_ATTR_RDONLY)
        yield os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=mounts[parent])
    for mount in mounts.values():
        os.close(mount)


@functools.cache
def _last_capability() -> int:
    """The highest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def _keep(capabilities: frozenset[int], last: int) -> None:
    for capability in range(last + 1):
        if capability not in capabilities:
            libc.prctl(_PR_CAPBSET_DROP, capability)
    mask = sum(1 << capability for capability in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # capset(2): effective, permitted and inheritable, in two halves.
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "capset")
