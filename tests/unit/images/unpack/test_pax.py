"""Records of extended headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images.unpack.archives import header, record

from podyard.errors import DataLoss
from podyard.images.unpack import pax
from podyard.images.unpack.header import parse

_KEYS = st.binary(min_size=1, max_size=30).filter(lambda key: b"=" not in key)


@given(st.lists(st.tuples(_KEYS, st.binary(max_size=200))))
def test_records_come_back(written: list[tuple[bytes, bytes]]) -> None:
    assert pax.records(b"".join(record(*pair) for pair in written)) == written


@given(st.binary(max_size=100))
def test_other_bytes_are_records_or_damage(data: bytes) -> None:
    try:
        found = pax.records(data)
    except DataLoss:
        return
    assert all(key + b"=" + value + b"\n" in data for key, value in found)
    assert sum(len(key) + len(value) + len(b"0 =\n") for key, value in found) <= len(data)


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        (b"0", 0),
        (b"1700000000", 1_700_000_000 * 10**9),
        (b"1700000000.5", 1_700_000_000_500_000_000),
        (b"1700000000.000000001", 1_700_000_000_000_000_001),
        (b"1700000000.1234567899", 1_700_000_000_123_456_789),
        (b"1.", 10**9),
        (b"-1.25", -1_250_000_000),
    ],
)
def test_a_time_keeps_its_nanoseconds(value: bytes, nanoseconds: int) -> None:
    assert pax.time(value) == nanoseconds


@pytest.mark.parametrize("value", [b"", b"x", b"1e3", b".5", b"1.5.5", b"+1", b" 1", b"1" * 30])
def test_another_time_is_damage(value: bytes) -> None:
    with pytest.raises(DataLoss, match="mtime"):
        pax.time(value)


def test_records_override_the_header_and_empty_ones_do_not() -> None:
    member = parse(header(b"name", uid=5, gid=6, link=b"link"))
    values = {b"path": b"other", b"uid": b"", b"gid": b"4000000000", b"size": b"9", b"linkpath": b"", b"comment": b"x"}
    pax.apply(member, values | {b"SCHILY.xattr.user.a": b""})
    assert (member.name, member.link, member.uid, member.gid, member.size) == (b"other", b"link", 5, 4_000_000_000, 9)
    assert member.xattrs == {b"user.a": b""}
