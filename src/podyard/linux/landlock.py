"""Landlock: a process denies itself files, mounts and sockets (kernel documentation, userspace-api/landlock).

Beneath the directories that it names it keeps what it asks for; everywhere else it may open and make nothing, whatever
descriptors it holds. A process under Landlock cannot mount. What it may do to a file's owner, mode, times and
attributes is not restricted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

READ_FILE = 1 << 2
WRITE_FILE = 1 << 1
READ_FOLDER = 1 << 3
REMOVE = 1 << 4 | 1 << 5
MAKE = 0b1111111 << 6  # character devices, directories, files, sockets, fifos, block devices, symbolic links
REFER = 1 << 13  # a hard link in another directory
TRUNCATE = 1 << 14

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_LEAST_ABI = 3  # the first that knows TRUNCATE; hard links across directories need the second
_FILE_RIGHTS = {3: (1 << 15) - 1, 5: (1 << 16) - 1}  # by the ABI that brought the last of them
_NET_ABI, _NET_RIGHTS = 4, 0b11
_SCOPE_ABI, _SCOPES = 6, 0b11

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def restrict(folders: Mapping[int, int]) -> bool:
    """Restrict the calling thread for good: ``folders`` has the rights by the descriptor of a directory.

    False when this kernel has no Landlock, or one that is too old. no_new_privs must be set.

    Raises OSError when the kernel refuses.
    """
    abi = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if abi < 0:
        number = ctypes.get_errno()
        if number in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return False
        raise OSError(number, os.strerror(number), "landlock_create_ruleset")
    if abi < _LEAST_ABI:
        return False
    files = _FILE_RIGHTS[5 if abi >= 5 else 3]
    attributes = struct.pack("=Q", files)
    if abi >= _NET_ABI:
        attributes += struct.pack("=Q", _NET_RIGHTS)
    if abi >= _SCOPE_ABI:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = _call("landlock_create_ruleset", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for folder, rights in folders.items():
            rule = struct.pack("=Qi", rights & files, folder)
            _call("landlock_add_rule", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        _call("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _call(name: str, *arguments: object) -> int:
    result = int(_libc.syscall(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result
