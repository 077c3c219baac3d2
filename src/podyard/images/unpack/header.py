"""One tar header block (POSIX.1-1988 ustar, with GNU's extensions of it).

A field that cannot be read raises DataLoss: the archive is damaged.
"""

from __future__ import annotations

import struct
from zlib import adler32

from podyard.errors import DataLoss

BLOCK = 512
ZERO = bytes(BLOCK)

_FIELDS = struct.Struct("100s24s12s12s8s1s100s8s64s8s8s155s12x")
_USTAR = b"ustar\0"
_ADLER = 65521


class Member:
    """A member of the archive. Names are bytes as the archive has them; ``mtime`` is in nanoseconds.

    ``size`` is what its data take in the archive, ``length`` the size of the file, ``segments`` the offset and the
    number of bytes of each piece of data of a sparse file (None: the data are the file).
    """

    __slots__ = (
        "device",
        "gid",
        "kind",
        "length",
        "link",
        "mode",
        "mtime",
        "name",
        "segments",
        "size",
        "uid",
        "xattrs",
    )

    def __init__(  # noqa: PLR0917  (one is made for each file: keywords would cost time)
        self,
        name: bytes,
        kind: bytes,
        rights: tuple[int, int, int],
        size: int,
        mtime: int,
        link: bytes,
        device: tuple[int, int] | None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode, self.uid, self.gid = rights
        self.size = size
        self.length = size
        self.mtime = mtime
        self.link = link
        self.device = device
        self.xattrs: dict[bytes, bytes] | None = None
        self.segments: list[tuple[int, int]] | None = None


_rights: dict[bytes, tuple[int, int, int]] = {}
_RIGHTS_LIMIT = 4096


def parse(block: bytes) -> Member:
    """The member that a header block describes. Raises DataLoss."""
    name, rights_field, size, mtime, checksum, kind, link, magic, _, major, minor, prefix = _FIELDS.unpack(block)
    _verify(block, checksum)
    name = name.partition(b"\0")[0]
    if prefix[0] and magic[:6] == _USTAR:
        name = prefix.partition(b"\0")[0] + b"/" + name
    rights = _rights.get(rights_field)
    if rights is None:
        rights = _parse_rights(rights_field)
    return Member(
        name,
        kind,
        rights,
        number(size, "size"),
        number(mtime, "modification time") * 1_000_000_000,
        link.partition(b"\0")[0] if link[0] else b"",
        (number(major, "major device number"), number(minor, "minor device number")) if kind in b"34" else None,
    )


def number(field: bytes, what: str) -> int:
    """A numeric field: octal digits, or GNU's base 256 where the first bit is set. Raises DataLoss."""
    digits = field[:-1]
    if digits.isdigit() and field[-1] in b"\0 " and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    return _odd_number(field, what)


def _odd_number(field: bytes, what: str) -> int:
    if field[0] & 0x80:
        # Base 256: two's complement without the marking bit.
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise DataLoss(f"the archive is damaged: a header's {what} is {field!r}")
    return int(digits, 8)


def _parse_rights(field: bytes) -> tuple[int, int, int]:
    rights = (number(field[:8], "mode") & 0o7777, number(field[8:16], "user id"), number(field[16:], "group id"))
    if len(_rights) < _RIGHTS_LIMIT:
        _rights[field] = rights
    return rights


def _verify(block: bytes, field: bytes) -> None:
    # The lower half of an Adler checksum is one more than the sum of the bytes, modulo 65521: thirty times faster
    # than sum(). Eight blanks stand for the field itself.
    stored = number(field[:-1] if field[-1] in b" \0" else field, "checksum")
    total = adler32(block[156:], adler32(block[:148]) + 256) & 0xFFFF
    if total == (stored + 1) % _ADLER:
        return
    # Some old writers add signed bytes.
    rest = block[:148] + block[156:]
    total = sum(rest) + 256
    if stored in {total, total - 256 * sum(byte >= 0x80 for byte in rest)}:
        return
    raise DataLoss(f"the archive is damaged: a header's checksum is {stored}, its bytes add up to {total}")
