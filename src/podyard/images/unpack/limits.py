"""What a layer may ask for, and what is told about an unpacked one."""

from __future__ import annotations

from typing import NamedTuple

STALL = 120.0
"""Seconds that a worker may go without progress."""


class Limits(NamedTuple):
    """Bounds of one layer. What passes a bound is refused with ResourceExhausted, a name with InvalidArgument."""

    entries: int = 1_000_000
    """Members of the archive."""
    size: int = 64 << 30
    """Bytes of the uncompressed archive: no file's content can be more."""
    path: int = 4095
    """Bytes of a member's name and of a link's target (Linux: PATH_MAX without the final zero)."""
    depth: int = 256
    """Directories above a member. Tools that walk trees keep a descriptor or a stack frame for each."""
    header: int = 1 << 20
    """Bytes of one extended header (long name, PAX records)."""
    segments: int = 250_000
    """Pieces of data in one sparse file."""
    stall: float = STALL
    """Seconds that the worker may go without progress."""


class UnpackResult(NamedTuple):
    """What was unpacked."""

    size: int
    """Bytes of the regular files' content, holes not counted, each file once however many names it has."""
    inodes: int
    """Files of any type, the root directory included."""
    diff_id: str
    """The digest of the uncompressed archive ("sha256:…")."""
    left_out: tuple[str, ...] = ()
    """What the archive has and the layer has not, in words: attributes that this host or its file system refuses."""
    record: str = ""
    """The digest of the record, where one was asked for."""
    disk: int = 0
    """Bytes of blocks that all files take on the disk, where a record was asked for; the record's own do not count."""


MESSAGE_LIMIT = 1 << 20
"""Bytes of a request to a worker: it names up to 500 layers."""
LEFT_OUT_LIMIT = 32
"""Texts in ``UnpackResult.left_out``."""
