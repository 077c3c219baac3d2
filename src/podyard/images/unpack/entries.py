"""What one member's file gets: content, owner, times, extended attributes; and what a refusal means."""

from __future__ import annotations

import errno
import os

from podyard.errors import Internal, InvalidArgument, PodyardError, ResourceExhausted
from podyard.images.unpack.header import Member
from podyard.images.unpack.limits import LEFT_OUT_LIMIT
from podyard.images.unpack.paths import shown

_ID_LIMIT = 2**32 - 1  # the last id, -1, means "leave it" to chown(2)
_SIZE_LIMIT = 2**63 - 1
_TIME_LIMIT = 2**40 * 10**9  # nanoseconds: some 34,000 years on each side of 1970

# An overlay's own marks are never an archive's to set; labels of security modules are this host's.
_FORBIDDEN = (b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"security.ima", b"security.evm")
_ALSO_FORBIDDEN = (b"security.apparmor", b"security.SMACK64")
_ALLOWED = (b"user.", b"trusted.", b"security.", b"system.posix_acl_")

# What a file system that lacks an attribute says, and the kernel for user.* on links and devices.
_UNSUPPORTED = {errno.ENOTSUP, errno.EPERM}


def check(member: Member) -> None:
    """Raises InvalidArgument for an owner, a size or a time that Linux cannot keep."""
    if max(member.size, member.length) > _SIZE_LIMIT:
        raise InvalidArgument(
            f"the layer's entry {shown(member.name)} has {member.length} bytes, which no file can have"
        )
    if not (0 <= member.uid < _ID_LIMIT and 0 <= member.gid < _ID_LIMIT):
        raise InvalidArgument(
            f"the layer's entry {shown(member.name)} is owned by {member.uid}:{member.gid}; "
            f"ids go from 0 to {_ID_LIMIT - 1}"
        )
    if not -_TIME_LIMIT < member.mtime < _TIME_LIMIT:
        raise InvalidArgument(f"the layer's entry {shown(member.name)} has a time out of range")


def write(file: int, piece: memoryview) -> None:
    """Write all of ``piece``. Raises OSError."""
    written = os.write(file, piece)
    while written < len(piece):
        written += os.write(file, piece[written:])


def failure(name: bytes, error: OSError) -> PodyardError:
    """What the kernel's refusal means for a member: a full disk, a name or size it cannot keep, or something else."""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceExhausted(f"cannot unpack {shown(name)}: {reason}; free space or inodes, or remove images")
    if error.errno in {errno.ENAMETOOLONG, errno.EFBIG}:
        return InvalidArgument(f"the layer's entry {shown(name)} cannot be on this file system: {reason}")
    return Internal(f"cannot unpack {shown(name)}: {reason}")


class Attributes:
    """Sets extended attributes; remembers in words which it had to leave out."""

    def __init__(self) -> None:
        self._left_out: dict[str, None] = {}
        self.used = False
        """Whether any was to be set."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out, in words."""
        return tuple(self._left_out)

    def set(self, path: bytes, values: dict[bytes, bytes]) -> None:
        """Set attributes of the file at a canonical path, never through a link.

        Raises InvalidArgument for one that the kernel calls wrong, ResourceExhausted for one that does not fit, OSError
        when it cannot be stored.
        """
        self.used = True
        for name, value in values.items():
            if not name.startswith(_ALLOWED) or name.startswith(_FORBIDDEN + _ALSO_FORBIDDEN) or b"\0" in name:
                self._leave_out(name, "it is not an image's to set")
                continue
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno in _UNSUPPORTED:
                    self._leave_out(name, f"{error.strerror}, first for {shown(path)}")
                elif error.errno in {errno.EINVAL, errno.ERANGE, errno.E2BIG}:
                    raise InvalidArgument(
                        f"the kernel refuses the attribute {shown(name)} of the layer's entry {shown(path)}: "
                        f"{error.strerror}"
                    ) from error
                elif error.errno == errno.ENOSPC:
                    raise ResourceExhausted(
                        f"the attribute {shown(name)} of {len(value)} bytes of the layer's entry {shown(path)} does "
                        "not fit: the disk is full, or the file system has too little room for one file's attributes"
                    ) from error
                else:
                    raise

    def _leave_out(self, name: bytes, why: str) -> None:
        key = shown(name)
        if len(self._left_out) < LEFT_OUT_LIMIT and not any(
            text.startswith(f"attribute {key}:") for text in self._left_out
        ):
            self._left_out[f"attribute {key}: {why}"] = None
