"""A process gives up what it does not need, before it reads hostile input. There is no way back."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Iterable, Mapping

from podyard.linux import libc

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
_MS_REC_PRIVATE = 0x4000 | 0x40000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.capset.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


def confine(root: str, capabilities: Iterable[int], limits: Mapping[int, int]) -> None:
    """Make ``root`` this process' root and working directory and leave it only ``capabilities``.

    It gets a mount, a network and an IPC namespace of its own, and can gain no privileges by executing anything.
    ``limits``: resource limits (``resource.RLIMIT_…``) to set, soft and hard; none is raised.

    The process must be single-threaded. What is open stays open. Raises OSError when the kernel refuses.
    """
    # Read before /proc is out of reach.
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    libc.unshare(CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWIPC)
    libc.mount("", "/", "", _MS_REC_PRIVATE, "")
    os.chdir(root)
    os.chroot(".")
    for number, wanted in limits.items():
        hard = resource.getrlimit(number)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (least, least))
    _keep(frozenset(capabilities), last)


def _keep(capabilities: frozenset[int], last: int) -> None:
    for capability in range(last + 1):
        if capability not in capabilities:
            _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    mask = sum(1 << capability for capability in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # capset(2): effective, permitted and inheritable, in two halves.
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data) != 0:
        raise _error("capset")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise _error(f"prctl {option}")


def _error(subject: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), subject)
