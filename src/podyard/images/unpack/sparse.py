"""Maps of sparse files: GNU tar's old format, and its PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, appendix D)."""

from __future__ import annotations

from podyard.errors import DataLoss, ResourceExhausted
from podyard.images.unpack import pax
from podyard.images.unpack.header import BLOCK, Member, number
from podyard.images.unpack.stream import Source

Segments = list[tuple[int, int]]

_ENTRY = 24
_NUMBER = 12


def old_gnu(member: Member, block: bytes, source: Source, limit: int) -> None:
    """Read the map of a member of type S: four pieces in the header, 21 in each block that follows. Raises DataLoss."""
    segments: Segments = []
    _append(segments, block, 386, 4)
    extended = block[482]
    while extended:
        more = source.read(BLOCK)
        _append(segments, more, 0, 21)
        extended = more[504]
        _bound(len(segments), limit)
    member.length = number(block[483:495], "size of a sparse file")
    _set(member, segments)


def from_records(member: Member, records: list[tuple[bytes, bytes]], source: Source, limit: int) -> None:
    """Read the map that PAX records name or hold; a member without one stays as it is. Raises DataLoss."""
    values = dict(records)
    if values.get(b"GNU.sparse.name"):
        member.name = pax.text(values[b"GNU.sparse.name"], "GNU.sparse.name")
    real = values.get(b"GNU.sparse.realsize") or values.get(b"GNU.sparse.size")
    if real is None:
        return
    if values.get(b"GNU.sparse.major") == b"1" and values.get(b"GNU.sparse.minor") == b"0":
        segments = _version_1(member, source, limit)
    elif b"GNU.sparse.map" in values:
        segments = _pairs(values[b"GNU.sparse.map"].split(b",") if values[b"GNU.sparse.map"] else [])
    else:
        # Version 0.0 repeats two keys, one pair for a piece.
        keys = {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}
        segments = _pairs([value for key, value in records if key in keys])
    _bound(len(segments), limit)
    member.length = pax.integer(real, "GNU.sparse.realsize")
    _set(member, segments)


def _version_1(member: Member, source: Source, limit: int) -> Segments:
    # The map stands before the data: decimal numbers, a line each, the number of pieces first, padded to a block.
    start = source.offset
    lines: list[bytes] = []
    rest = b""
    wanted = 1
    while len(lines) < wanted:
        if source.offset - start + BLOCK > member.size:
            raise DataLoss("the archive is damaged: a sparse file's map is longer than its data")
        *complete, rest = (rest + source.read(BLOCK)).split(b"\n")
        if len(rest) > BLOCK:
            raise DataLoss("the archive is damaged: a sparse file's map has no end of line")
        lines += complete
        if wanted == 1 and lines:
            count = pax.integer(lines[0], "count of a sparse map")
            _bound(count, limit)
            wanted = 1 + 2 * count
    member.size -= source.offset - start
    return _pairs(lines[1:wanted])


def _pairs(values: list[bytes]) -> Segments:
    if len(values) % 2:
        raise DataLoss("the archive is damaged: a sparse file's map has an offset without a length")
    numbers = [pax.integer(value, "sparse map") for value in values]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _append(segments: Segments, block: bytes, at: int, count: int) -> None:
    for start in range(at, at + count * _ENTRY, _ENTRY):
        if not block[start]:
            return
        middle = start + _NUMBER
        offset = number(block[start:middle], "sparse map")
        segments.append((offset, number(block[middle : middle + _NUMBER], "sparse map")))


def _bound(count: int, limit: int) -> None:
    if count > limit:
        raise ResourceExhausted(f"a sparse file has {count} pieces, more than the limit of {limit}")


def _set(member: Member, segments: Segments) -> None:
    end = total = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise DataLoss("the archive is damaged: the pieces of a sparse file overlap or are out of order")
        end = offset + length
        total += length
    if end > member.length or total != member.size:
        raise DataLoss("the archive is damaged: a sparse file's map does not fit its size")
    member.segments = segments
