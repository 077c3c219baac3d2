"""Archives and blobs that are damaged, and those that want too much; each with its expected outcome."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os

from backports import zstd
from tests.unit.images.unpack.archives import END, GNU, base256, extension, file, header, octal, padded, pax, record
from tests.unit.images.unpack.cases import blob, harmless, refused

from podyard.errors import DataLoss, ResourceExhausted, Unimplemented
from podyard.images.unpack import Limits

_ARCHIVE = file(b"a", os.urandom(100_000)) + END
_GZIP = gzip.compress(_ARCHIVE)
_ZSTD = zstd.compress(_ARCHIVE)
_SMALL = Limits(entries=10, size=1 << 20, header=4096, segments=5)


def _old_sparse(pieces: bytes, real: int, data: bytes) -> bytes:
    block = bytearray(header(b"s", b"S", size=len(data), magic=GNU, checksum=b" " * 8))
    block[386 : 386 + len(pieces)] = pieces
    block[483:495] = octal(real, 12)
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + padded(data)


def _turned(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGED = [
    refused("a wrong checksum", DataLoss, "checksum", header(b"a", checksum=b"000001\0 ")),
    refused("a checksum that is no number", DataLoss, "checksum", header(b"a", checksum=b"zzzzzz\0 ")),
    refused("a size that is no number", DataLoss, "size", header(b"a", size=b"9999")),
    refused("a negative size", DataLoss, "size", header(b"a", size=base256(-512, 12))),
    refused("a size beyond the end", DataLoss, "cut short", header(b"a", size=1 << 32)),
    refused("a size beyond all bounds", DataLoss, "cut short", header(b"a", size=base256(2**62, 12))),
    refused("a PAX size beyond all bounds", DataLoss, "size", pax((b"size", b"9" * 30)) + header(b"a")),
    refused("no archive", DataLoss, "checksum", b"#!/bin/sh\n" * 100),
    refused("a PAX record without a length", DataLoss, "length", extension(b"x", b"path=a\n") + file(b"a")),
    refused("a PAX record longer than its header", DataLoss, "form", extension(b"x", b"99 path=a\n") + file(b"a")),
    refused("a PAX record without an end", DataLoss, "form", extension(b"x", b"9 path=a,") + file(b"a")),
    refused("a PAX record of length 0", DataLoss, "form", extension(b"x", b"0 path=a\n") + file(b"a")),
    refused(
        "a PAX record with a huge length", DataLoss, "length", extension(b"x", b"9" * 400 + b" path=a\n") + file(b"a")
    ),
    refused("a PAX record without a key", DataLoss, "form", extension(b"x", b"5 =a\n") + file(b"a")),
    refused("a PAX path with a zero byte", DataLoss, "zero byte", pax((b"path", b"a\0b")) + file(b"a")),
    refused("a PAX owner that is no number", DataLoss, "uid", pax((b"uid", b"-1")) + file(b"a")),
    refused("a PAX time that is no number", DataLoss, "mtime", pax((b"mtime", b"1e9")) + file(b"a")),
    refused("extended headers without end", DataLoss, "more than 64", pax((b"path", b"a")) * 70 + file(b"a")),
    refused(
        "a sparse map out of order",
        DataLoss,
        "out of order",
        pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"50,2,0,2")) + file(b"a"),
    ),
    refused(
        "a sparse map larger than the file",
        DataLoss,
        "fit",
        pax((b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"50,4")) + file(b"a"),
    ),
    refused(
        "a sparse map with more data than there are",
        DataLoss,
        "fit",
        pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"50,40")) + file(b"a"),
    ),
    refused(
        "a sparse map that ends early",
        DataLoss,
        "without a length",
        pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"50")) + file(b"a"),
    ),
    refused(
        "a sparse map of letters",
        DataLoss,
        "sparse map",
        pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b"a,b")) + file(b"a"),
    ),
    refused(
        "a sparse map without end",
        DataLoss,
        "longer than its data",
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
        + file(b"a", b"300\n" + b"9\n" * 254),
    ),
    refused(
        "an old sparse map that overlaps",
        DataLoss,
        "overlap",
        _old_sparse(octal(0, 12) + octal(4, 12) + octal(2, 12) + octal(4, 12), 100, b"datadata"),
    ),
]

BLOBS = [
    blob("extended headers and no member", DataLoss, "after an extended header", pax((b"path", b"a"))),
    blob("half a header", DataLoss, "cut short", file(b"a") + header(b"b")[:100]),
    blob("half a file", DataLoss, "cut short", file(b"a", b"x" * 2000)[:1500]),
    blob("gzip data that are cut", DataLoss, "compressed data are cut short", _GZIP[:-20]),
    blob("gzip data without their checksum", DataLoss, "compressed data are cut short", _GZIP[:-3]),
    blob("gzip data with a wrong checksum", DataLoss, "damaged", _turned(_GZIP, len(_GZIP) - 6)),
    blob("a gzip header alone", DataLoss, "compressed data are cut short", b"\x1f\x8b\x08\0\0\0\0\0\0\0"),
    blob("a gzip header of an unknown method", DataLoss, "damaged", b"\x1f\x8b\x07" + bytes(100)),
    blob("rubbish after gzip data", DataLoss, "damaged", _GZIP + b"rubbish " * 100),
    blob("zstd data that are cut", DataLoss, "compressed data are cut short", _ZSTD[:-20]),
    blob("zstd data that are none", DataLoss, "damaged", b"\x28\xb5\x2f\xfd" + b"\xff" * 100),
    blob("rubbish after zstd data", DataLoss, "damaged", _ZSTD + b"rubbish " * 100),
    # Frame header: no checksum, no content size, a window of 2^41 bytes.
    blob("a zstd window beyond memory", DataLoss, "damaged", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(20)),
    blob("bzip2", Unimplemented, "bzip2", bz2.compress(_ARCHIVE)),
    blob("xz", Unimplemented, "xz", lzma.compress(_ARCHIVE)),
    blob("a zip file", Unimplemented, "zip", b"PK\x03\x04" + bytes(1000)),
]

GREEDY = [
    refused("too many entries", ResourceExhausted, "more than 10 entries", file(b"a") * 11, _SMALL),
    refused("too many bytes", ResourceExhausted, "larger than the limit", file(b"a", bytes(1 << 20)), _SMALL),
    refused(
        "a bomb", ResourceExhausted, "larger than the limit", lambda outside: gzip.compress(bytes(1 << 24)), _SMALL
    ),
    refused("a bomb after the end", ResourceExhausted, "larger than the limit", END + bytes(1 << 20), _SMALL),
    refused(
        "a huge extended header",
        ResourceExhausted,
        "the limit is 4096",
        extension(b"x", record(b"c", b"x" * 5000)),
        _SMALL,
    ),
    refused("a huge long name", ResourceExhausted, "the limit is 4096", extension(b"L", b"x" * 5000), _SMALL),
    refused(
        "an extended header of negative size",
        ResourceExhausted,
        "has -1 bytes",
        header(b"x", b"x", size=base256(-1, 12)),
    ),
    refused(
        "global headers that add up",
        ResourceExhausted,
        "global headers",
        b"".join(pax((b"c%d" % number, b"x" * 1000), kind=b"g") for number in range(6)),
        _SMALL,
    ),
    refused(
        "global headers of many records",
        ResourceExhausted,
        "more than 1000 records",
        pax(*((b"SCHILY.xattr.x%d" % number, b"") for number in range(1001)), kind=b"g") + file(b"a"),
    ),
    refused(
        "too many pieces of a sparse file",
        ResourceExhausted,
        "6 pieces",
        pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", b",".join([b"0,0"] * 6))) + file(b"a", b""),
        _SMALL,
    ),
    refused(
        "a sparse file of huge count",
        ResourceExhausted,
        "999999 pieces",
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
        + file(b"a", b"999999\n".ljust(512, b"\0")),
        _SMALL,
    ),
    harmless(
        "a file of mostly nothing",
        lambda target: (target / "a").stat().st_blocks < 100,
        pax((b"GNU.sparse.size", b"1000000000000"), (b"GNU.sparse.map", b"999999999990,4")) + file(b"a"),
    ),
]
