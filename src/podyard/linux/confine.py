"""A process gives up what it does not need, before it reads hostile input. There is no way back."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import struct
from collections.abc import Iterable, Mapping, Sequence

from podyard.linux import landlock, libc

CLONE_NEWNS = 0x00020000

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_FOWNER = 3
CAP_FSETID = 4
CAP_SYS_ADMIN = 21
CAP_MKNOD = 27
CAP_SETFCAP = 31

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
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


def confine(root: str, capabilities: Iterable[int], limits: Mapping[int, int], read_only: Sequence[int] = ()) -> bool:
    """Make ``root`` this process' root and working directory and leave it only ``capabilities``.

    It gets a mount namespace of its own, can gain no privileges by executing anything, and opens no device in ``root``.
    Where the kernel has Landlock it can open files in ``root`` alone, read the directories of the descriptors
    ``read_only``, and mount nothing. ``limits``: resource limits (``resource.RLIMIT_…``) to set, soft and hard; none is
    raised.

    True with Landlock in force, False on a kernel without it.

    The process must be single-threaded. What is open stays open. Raises OSError when the kernel refuses.
    """
    last = _last_capability()  # before /proc is out of reach
    libc.unshare(CLONE_NEWNS)
    libc.mount("", "/", "", libc.MS_REC | libc.MS_PRIVATE, "")
    flags = libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC
    libc.mount(root, root, "", libc.MS_BIND, "")
    libc.mount("", root, "", libc.MS_BIND | libc.MS_REMOUNT | flags, "")
    os.chdir(root)
    os.chroot(".")
    for number, wanted in limits.items():
        hard = resource.getrlimit(number)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (least, least))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY)
    locked = landlock.restrict({folder: _ALL_IN_ROOT, **dict.fromkeys(read_only, landlock.READ_FOLDER)})
    os.close(folder)
    _keep(frozenset(capabilities), last)
    return locked


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
