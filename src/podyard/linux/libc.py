"""Calls of the C library that Python's does not offer. Each raises OSError with the kernel's reason."""

from __future__ import annotations

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)

_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG = 1
_SYS_OPENAT2 = 437
"""The number of openat2(2) on every architecture but alpha; the C library has no function for it."""
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442  # likewise; the C library has them since 2.36


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x00100000
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """mount(2)."""
    arguments = [os.fsencode(text) if text else None for text in (source, target, kind)]
    data = os.fsencode(options) if options else None
    if _libc.mount(*arguments, flags, data) != 0:
        raise _error(target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    if _libc.umount2(os.fsencode(target), flags) != 0:
        raise _error(target)


def unshare(flags: int) -> None:
    """unshare(2): of the calling thread."""
    if _libc.unshare(flags) != 0:
        raise _error("unshare")


def setns(descriptor: int, kind: int) -> None:
    """setns(2): of the calling thread. ``kind``: the CLONE_NEW… of the namespace."""
    if _libc.setns(descriptor, kind) != 0:
        raise _error("setns")


def open_tree(path: str, *, recursive: bool) -> int:
    """open_tree(2): a copy of the mount at ``path``, attached to nothing; it goes with its descriptor."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    descriptor: int = _libc.syscall(
        ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(-100), ctypes.c_char_p(os.fsencode(path)), ctypes.c_uint(flags)
    )
    if descriptor < 0:
        raise _error(path)
    return descriptor


def move_mount(tree: int, target: str) -> None:
    """move_mount(2): attach what ``open_tree`` copied."""
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(-100),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
    )
    if result != 0:
        raise _error(target)


def mount_setattr(tree: int, attributes: int, *, recursive: bool, propagation: int = 0, userns: int = 0) -> None:
    """mount_setattr(2): set attributes of an unattached mount. ``userns``: a descriptor, with MOUNT_ATTR_IDMAP."""
    wanted = _MountAttr(attributes, 0, propagation, userns)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )
    if result != 0:
        raise _error("mount_setattr")


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise _error("prctl")


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that has started this process ends; at once when its process ``parent`` is gone.

    A change of credentials takes it back (PR_SET_PDEATHSIG in prctl(2)).
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def openat2(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """openat2(2): the new descriptor."""
    how = _OpenHow(flags, mode, resolve)
    descriptor: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if descriptor < 0:
        raise _error(path)
    return descriptor


def _error(subject: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), subject)
