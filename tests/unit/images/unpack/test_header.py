"""Header blocks: numbers, checksums and names."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images.unpack.archives import GNU, base256, header

from podyard.errors import DataLoss
from podyard.images.unpack.header import number, parse


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"    644\0", 0o644),
        (b"644 \0\0\0\0", 0o644),
        (b"644\0junk", 0o644),
        (b"77777777", 0o77777777),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"\x80" + bytes(6) + b"\x07", 7),
        (b"\xff" * 8, -1),
        (b"\x80\0\0\0\xff\xff\xff\xff", 2**32 - 1),
    ],
)
def test_a_number_is_octal_or_base_256(field: bytes, value: int) -> None:
    assert number(field, "x") == value


@pytest.mark.parametrize(
    "field", [b"9\0\0\0\0\0\0\0", b"0x1\0\0\0\0\0", b"12 34\0\0\0", b"-1\0\0\0\0\0\0", b"1_0\0\0\0\0\0"]
)
def test_another_number_is_damage(field: bytes) -> None:
    with pytest.raises(DataLoss, match="a header's size is"):
        number(field, "size")


@given(st.integers(-(2**63), 2**63 - 1))
def test_base_256_comes_back(value: int) -> None:
    assert number(base256(value, 12), "x") == value


@given(st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name), st.integers(0, 0o777_7777_7777))
def test_a_header_is_read_as_pythons_tarfile_reads_it(name: bytes, size: int) -> None:
    block = header(name, size=size, mode=0o4711, uid=1000, gid=50, magic=GNU)
    member, theirs = parse(block), tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    assert member.name.rstrip(b"/") == theirs.name.encode("utf-8", "surrogateescape").rstrip(b"/")
    assert (member.size, member.mode, member.uid, member.gid) == (theirs.size, theirs.mode, theirs.uid, theirs.gid)
    assert member.mtime == theirs.mtime * 10**9


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_changed_byte_is_found_by_the_checksum(at: int, change: int) -> None:
    block = bytearray(header(b"name\xff\x80"))
    block[at] ^= change
    if 148 <= at < 156:
        return  # the checksum itself may be written in several ways
    with pytest.raises(DataLoss, match="checksum"):
        parse(bytes(block))


def test_a_checksum_of_signed_bytes_is_taken() -> None:
    block = header(b"\xff\xfe")
    total = sum(block[:148]) + sum(block[156:]) + 256
    signed = block[:148] + b"%06o\0 " % (total - 512) + block[156:]
    assert parse(signed).name == b"\xff\xfe"


def test_a_prefix_belongs_to_the_name_in_ustar_alone() -> None:
    assert parse(header(b"name", prefix=b"some/where")).name == b"some/where/name"
    assert parse(header(b"name", prefix=b"some/where", magic=GNU)).name == b"name"
    # Neither GNU tar nor Go look at the version.
    for magic in (b"ustar\0\0\0", b"ustar\0  "):
        assert parse(header(b"name", prefix=b"some/where", magic=magic)).name == b"some/where/name"
