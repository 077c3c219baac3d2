"""The records of extended headers (POSIX.1-2001 pax, with the keys of GNU tar and of star)."""

from __future__ import annotations

import re

from podyard.errors import DataLoss
from podyard.images.unpack.header import Member

XATTR = b"SCHILY.xattr."
_MTIME = re.compile(rb"(-?)(\d{1,19})(?:\.(\d*))?")
_LENGTH_DIGITS = 8


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The keys and values of one extended header. Raises DataLoss."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + _LENGTH_DIGITS + 1)
        digits = data[at:blank] if blank > 0 else b""
        if not digits.isdigit():
            raise DataLoss("the archive is damaged: a PAX record does not begin with its length")
        end = at + int(digits)
        equals = data.find(b"=", blank, end)
        if end > len(data) or equals < 0 or data[end - 1] != 0x0A or equals == blank + 1:
            raise DataLoss("the archive is damaged: a PAX record is not of the form 'length key=value'")
        found.append((data[blank + 1 : equals], data[equals + 1 : end - 1]))
        at = end
    return found


def apply(member: Member, values: dict[bytes, bytes]) -> None:
    """Let records override a header's fields. An empty value leaves the header's (POSIX pax, "Extended Header").

    Raises DataLoss.
    """
    for key, value in values.items():
        if key[:13] == XATTR:
            member.xattrs = member.xattrs or {}
            member.xattrs[key[13:]] = value
        elif not value:
            continue
        elif key == b"path":
            member.name = text(value, "path")
        elif key == b"linkpath":
            member.link = text(value, "linkpath")
        elif key == b"mtime":
            member.mtime = time(value)
        elif key == b"size":
            member.size = member.length = integer(value, "size")
        elif key == b"uid":
            member.uid = integer(value, "uid")
        elif key == b"gid":
            member.gid = integer(value, "gid")


def text(value: bytes, key: str) -> bytes:
    """A name. Raises DataLoss when it holds a zero byte."""
    if b"\0" in value:
        raise DataLoss(f"the archive is damaged: the PAX record {key} holds a zero byte")
    return value


def integer(value: bytes, key: str) -> int:
    """A decimal number that is not negative. Raises DataLoss."""
    if not value.isdigit() or len(value) > 19:
        raise DataLoss(f"the archive is damaged: the PAX record {key} is {value[:40]!r}")
    return int(value)


def time(value: bytes) -> int:
    """Seconds with a decimal fraction, as nanoseconds; what is finer is cut off. Raises DataLoss."""
    match = _MTIME.fullmatch(value)
    if match is None:
        raise DataLoss(f"the archive is damaged: the PAX record mtime is {value[:40]!r}")
    sign, seconds, fraction = match.groups()
    nanoseconds = int(seconds) * 1_000_000_000 + int(((fraction or b"") + b"000000000")[:9])
    return -nanoseconds if sign else nanoseconds
