"""The archive's members, each with what its extended headers say.

Types and sizes are read as Go's archive/tar does, which made most layers: links, devices and directories have no data
whatever their header's size says.
"""

from __future__ import annotations

from collections.abc import Iterator

from podyard.errors import DataLoss, InvalidArgument, ResourceExhausted
from podyard.images.unpack import pax, sparse
from podyard.images.unpack.header import BLOCK, ZERO, Member, parse
from podyard.images.unpack.limits import Limits
from podyard.images.unpack.stream import Source

FILE = b"0"
HARD_LINK = b"1"
SYMBOLIC_LINK = b"2"
CHARACTER = b"3"
BLOCK_DEVICE = b"4"
FOLDER = b"5"
FIFO = b"6"

_FILES = frozenset({FILE, b"\0", b"7"})  # 7: "contiguous", which Linux does not know
_WITHOUT_DATA = frozenset({HARD_LINK, SYMBOLIC_LINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO})
_EXTENSIONS = frozenset({b"x", b"g", b"L", b"K", b"V"})  # V: GNU's volume label
_EXTENSIONS_LIMIT = 64  # headers before one member
_SHARED_LIMIT = 1000  # records of global headers


def members(source: Source, limits: Limits) -> Iterator[Member]:
    """Each member in turn; what is left unread of its data is passed over.

    The archive ends with a block of zeros (GNU tar ends at one, POSIX writes two) or with the stream.

    Raises DataLoss for a damaged archive, ResourceExhausted beyond a limit, InvalidArgument for types that no layer
    has.
    """
    count = 0
    shared: dict[bytes, bytes] = {}
    while True:
        extended: list[tuple[bytes, bytes]] = []
        member, block = _next(source, shared, extended, limits)
        if member is None:
            return
        count += 1
        if count > limits.entries:
            raise ResourceExhausted(f"the layer has more than {limits.entries} entries, which is the limit")
        sparse_records = False
        if shared or extended:
            values = shared | dict(extended)
            pax.apply(member, values)
            sparse_records = b"GNU.sparse.realsize" in values or b"GNU.sparse.size" in values
        kind = member.kind
        if kind in _FILES:
            # Before ustar, a name with a slash at its end was a directory.
            member.kind = FOLDER if kind == b"\0" and member.name[-1:] == b"/" else FILE
        elif kind in _WITHOUT_DATA:
            member.size = member.length = 0
        elif kind != b"S":
            raise InvalidArgument(
                f"the layer's entry {member.name[:200]!r} has the type {kind!r}, which layers cannot have"
            )
        if member.size < 0:
            raise DataLoss(f"the archive is damaged: the size of {member.name[:200]!r} is {member.size}")
        padding = -member.size % BLOCK
        if kind == b"S":
            member.kind = FILE
            sparse.old_gnu(member, block, source, limits.segments)
        elif sparse_records and member.kind == FILE:
            sparse.from_records(member, extended, source, limits.segments)
        end = source.offset + member.size + padding
        yield member
        source.skip(end - source.offset)


def _next(
    source: Source, shared: dict[bytes, bytes], extended: list[tuple[bytes, bytes]], limits: Limits
) -> tuple[Member | None, bytes]:
    """The next member and its header block, with the names and records of the extensions before it."""
    name = link = b""
    extensions = 0
    while True:
        block = source.block()
        if not block or block == ZERO:
            if extensions and not block:
                raise DataLoss("the archive is cut short: it ends after an extended header")
            return None, block
        member = parse(block)
        if member.kind not in _EXTENSIONS:
            member.name = name or member.name
            member.link = link or member.link
            return member, block
        extensions += 1
        if extensions > _EXTENSIONS_LIMIT:
            raise DataLoss(f"the archive is damaged: more than {_EXTENSIONS_LIMIT} extended headers for one member")
        if not 0 <= member.size <= limits.header:
            raise ResourceExhausted(f"an extended header has {member.size} bytes; the limit is {limits.header}")
        data = source.read(member.size)
        source.skip(-member.size % BLOCK)
        if member.kind == b"L":
            name = data.partition(b"\0")[0]
        elif member.kind == b"K":
            link = data.partition(b"\0")[0]
        elif member.kind == b"x":
            extended += pax.records(data)
        elif member.kind == b"g":
            shared.update(pax.records(data))
            if sum(map(len, shared)) + sum(map(len, shared.values())) > limits.header:
                raise ResourceExhausted(f"the archive's global headers have more than {limits.header} bytes")
            if len(shared) > _SHARED_LIMIT:
                # Each counts for every member that follows: a small archive would take hours.
                raise ResourceExhausted(f"the archive's global headers have more than {_SHARED_LIMIT} records")
