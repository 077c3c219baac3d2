"""The blob decompressed and hashed in pieces."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.images.unpack.archives import digest

from podyard.errors import DataLoss
from podyard.images.unpack import Limits
from podyard.images.unpack.stream import CHUNK, READ, Source

CONTENT = os.urandom(100_000) + bytes(2 << 20) + b"end"


def source(path: Path, blob: bytes, report: Callable[[int], None] = lambda read: None) -> Source:
    path.write_bytes(blob)
    return Source(os.open(path, os.O_RDONLY), Limits(), report)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 400_000), max_size=8))
def test_pieces_of_any_size_make_the_content(
    tmp_path: Path, compress: Callable[[bytes], bytes], sizes: list[int]
) -> None:
    stream = source(tmp_path / "blob", compress(CONTENT))
    try:
        at = 0
        for number, wanted in enumerate(sizes):
            size = min(wanted, len(CONTENT) - at)
            if number % 2:
                stream.skip(size)
            else:
                pieces = [bytes(piece) for piece in stream.pieces(size)]
                assert max(map(len, pieces), default=0) <= CHUNK
                assert b"".join(pieces) == CONTENT[at : at + size]
            at += size
            assert stream.offset == at
        assert stream.digest() == digest(CONTENT)
    finally:
        os.close(stream._blob)


def gzip_member(data: bytes, *, extra: int, name: bytes, checksum: bool) -> bytes:
    """A member with all that a header may have (RFC 1952); ``extra``: bytes of its extra field."""
    header = b"\x1f\x8b\x08%c\0\0\0\0\0\xff" % (0x1C | 2 * checksum)
    header += struct.pack("<H", extra) + bytes(extra) + name + b"\0comment\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if checksum else b""
    body = zlib.compress(data, wbits=-15)
    return header + body + struct.pack("<II", zlib.crc32(data), len(data))


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("extra", [22, 65535])
@pytest.mark.parametrize("short", [1, 3, 11, 20, 30, 40])
def test_a_gzip_header_may_be_read_in_two_parts(tmp_path: Path, short: int, extra: int, checksum: bool) -> None:
    # The first member takes all but a few bytes of what is read at once.
    first = gzip_member(
        b"",
        extra=READ - short - len(gzip_member(b"", extra=0, name=b"n", checksum=checksum)),
        name=b"n",
        checksum=checksum,
    )
    second = gzip_member(b"content", extra=extra, name=b"layer.tar", checksum=checksum)
    assert gzip.decompress(first + second) == b"content"
    stream = source(tmp_path / "blob", first + second)
    assert stream.digest() == digest(b"content")
    os.close(stream._blob)


def test_blocks_end_with_the_content(tmp_path: Path) -> None:
    stream = source(tmp_path / "blob", bytes(1024))
    assert [len(stream.block()) for _ in range(4)] == [512, 512, 0, 0]
    os.close(stream._blob)
    stream = source(tmp_path / "blob", bytes(1000))
    assert len(stream.block()) == 512
    with pytest.raises(DataLoss, match="24 bytes before"):
        stream.block()
    os.close(stream._blob)


def test_progress_is_reported_for_each_chunk(tmp_path: Path) -> None:
    seen: list[int] = []
    blob = gzip.compress(CONTENT)
    stream = source(tmp_path / "blob", blob, seen.append)
    stream.digest()
    os.close(stream._blob)
    assert seen == sorted(seen)
    assert seen[-1] == len(blob) == stream.blob_read
    assert len(seen) > len(CONTENT) // CHUNK
