"""Tar archives built byte by byte, so that a test can ask for what no tool would write; trees described."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)
GNU = b"ustar  \0"
USTAR = b"ustar\x0000"
TAR = "application/vnd.oci.image.layer.v1.tar"


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    return (value & ((1 << (8 * width)) - 1) | (1 << (8 * width - 1))).to_bytes(width, "big")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_700_000_000,
    magic: bytes = USTAR,
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block; numbers may be given as the bytes of their fields."""

    def field(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else octal(value, width)

    parts = [
        name.ljust(100, b"\0")[:100],
        field(mode, 8),
        field(uid, 8),
        field(gid, 8),
        field(size, 12),
        field(mtime, 12),
        b" " * 8,
        kind,
        link.ljust(100, b"\0")[:100],
        magic,
        bytes(64),
        field(device[0], 8),
        field(device[1], 8),
        prefix.ljust(167, b"\0"),
    ]
    block = b"".join(parts)
    assert len(block) == BLOCK
    total = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return block[:148] + total + block[156:]


def file(name: bytes, data: bytes = b"data", **fields: int | bytes) -> bytes:
    return header(name, size=len(data), **fields) + padded(data)  # type: ignore[arg-type]


def folder(name: bytes, **fields: int | bytes) -> bytes:
    return header(name, b"5", **{"mode": 0o755, **fields})  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes, **fields: int | bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777, **fields)  # type: ignore[arg-type]


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record, its length counting its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest)
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return b"%d%s" % (size, rest)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return extension(kind, b"".join(record(key, value) for key, value in records))


def extension(kind: bytes, data: bytes) -> bytes:
    return header(b"././@Extension", kind, size=len(data)) + padded(data)


def longname(name: bytes, kind: bytes = b"L") -> bytes:
    return extension(kind, name + b"\0")


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below ``root`` (and itself, as "."): type, mode, owner, time, content or target, attributes.

    Names of one file stand together under "links".
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes() if status.st_size < 1 << 24 else status.st_size
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        mode, owner = oct(status.st_mode), (status.st_uid, status.st_gid)
        found[str(path.relative_to(root))] = (mode, owner, status.st_mtime_ns, status.st_rdev, content, xattrs)
    return found


def links(root: Path) -> set[frozenset[str]]:
    """The names of each file that has several."""
    names: dict[int, set[str]] = {}
    for path in root.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            names.setdefault(path.lstat().st_ino, set()).add(str(path.relative_to(root)))
    return {frozenset(group) for group in names.values() if len(group) > 1}
