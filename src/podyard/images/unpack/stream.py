"""The blob decompressed and hashed, in pieces: never more than a few hundred kilobytes are held."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from podyard.errors import DataLoss, ResourceExhausted, Unimplemented
from podyard.images.unpack.limits import Limits
from podyard.images.unpack.record import Recorder

READ = 64 << 10
CHUNK = 256 << 10

_WINDOW_LOG = 27
"""zstd windows of up to 128 MiB: the default bound of its own tools."""
_FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip"}


class Decoder(NamedTuple):
    """Makes a decoder of one member or frame; ``failure`` is the exception that it raises for damaged data.

    ``begun``: whether a member's first bytes are enough for it to begin with.
    """

    new: Callable[[], Any]
    failure: Any
    begun: Callable[[bytes], bool]


class Source:
    """The uncompressed archive.

    The format is told from the blob's first bytes: gzip and zstd (both of several members or frames) or none.
    ``report`` is called with the number of the blob's bytes read so far, once for each chunk. ``recorder`` gets each
    chunk when it has been read.

    Reading raises DataLoss where the blob is damaged or ends too early, ResourceExhausted beyond ``limits.size``,
    Unimplemented for another compression.
    """

    def __init__(
        self, blob: int, limits: Limits, report: Callable[[int], None], recorder: Recorder | None = None
    ) -> None:
        self._blob = blob
        self._recorder = recorder
        self._limit = limits.size
        self._header_limit = limits.header
        self._report = report
        self._read = 0
        self._hash = hashlib.sha256()
        self._chunks = self._decompressed()
        self._chunk = b""
        self._view = memoryview(b"")
        self._at = 0
        self._end = 0
        self._before = 0

    @property
    def blob_read(self) -> int:
        """Bytes of the blob read so far."""
        return self._read

    @property
    def offset(self) -> int:
        """Bytes of the uncompressed archive taken so far."""
        return self._before + self._at

    def block(self) -> bytes:
        """The next 512 bytes, or b"" at the end."""
        at = self._at
        end = at + 512
        if end <= self._end:
            self._at = end
            return self._chunk[at:end]
        if at == self._end and not self._fill():
            return b""
        return self.read(512)

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, which the caller has bounded."""
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next ``count`` bytes as views, each good until the next is asked for."""
        while count:
            at = self._at
            if at == self._end:
                if not self._fill():
                    raise DataLoss(f"the archive is cut short: it ends {count} bytes before the end of a member")
                at = 0
            piece = self._view[at : at + count]
            size = len(piece)
            self._at = at + size
            count -= size
            yield piece

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        if self._at + count <= self._end:
            self._at += count
            return
        for _ in self.pieces(count):
            pass

    def digest(self) -> str:
        """Read the rest of the archive; the digest of all of it."""
        while self._fill():
            pass
        return f"sha256:{self._hash.hexdigest()}"

    def _fill(self) -> bool:
        if self._recorder is not None:
            self._recorder.passed(self._view, self._before)
        self._before += self._end
        self._chunk = next(self._chunks, b"")
        self._view = memoryview(self._chunk)
        self._at, self._end = 0, len(self._chunk)
        if self._before + self._end > self._limit:
            raise ResourceExhausted(
                f"the uncompressed layer is larger than the limit of {self._limit} bytes: it is a decompression bomb, "
                "or the limit must be raised"
            )
        self._hash.update(self._view)
        self._report(self._read)
        return self._end > 0

    def _input(self) -> bytes:
        data = os.read(self._blob, READ)
        self._read += len(data)
        return data

    def _decompressed(self) -> Iterator[bytes]:
        first = self._input()
        if first[:2] == b"\x1f\x8b":
            return self._members(decoders()[0], first)
        # A zstd frame, or one that is to be skipped (RFC 8878, 3.1).
        if first[:4] == b"\x28\xb5\x2f\xfd" or (first[1:4] == b"\x2a\x4d\x18" and first[0] & 0xF0 == 0x50):
            return self._members(decoders()[1], first)
        for magic, name in _FOREIGN.items():
            if first.startswith(magic):
                raise Unimplemented(f"the layer is compressed with {name}: gzip, zstd and no compression are supported")
        return self._plain(first)

    def _plain(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield data
            data = self._input()

    def _members(self, kind: Decoder, data: bytes) -> Iterator[bytes]:
        # gzip members and zstd frames follow each other; zeros may pad a gzip file (gzip manual).
        decoder = kind.new()
        data = self._begun(kind, data)
        while True:
            try:
                out = decoder.decompress(data, CHUNK)
            except kind.failure as error:
                raise DataLoss(f"the layer's compressed data are damaged: {error}") from error
            data = b""
            if out:
                yield out
            if decoder.eof:
                data = decoder.unused_data.lstrip(b"\0")
                while not data:
                    more = self._input()
                    if not more:
                        return
                    data = more.lstrip(b"\0")
                decoder = kind.new()
                data = self._begun(kind, data)
            elif decoder.needs_input:
                data = self._input()
                if not data:
                    raise DataLoss("the layer's compressed data are cut short")

    def _begun(self, kind: Decoder, data: bytes) -> bytes:
        """The first bytes of a member, with as many more as its decoder needs to begin."""
        while not kind.begun(data) and len(data) < self._header_limit and (more := self._input()):
            data += more
        return data


def _has_gzip_header(data: bytes) -> bool:
    """Whether the whole header of a gzip member is there (RFC 1952, 2.3): isal misreads one that comes in two parts."""
    if len(data) < 12:
        return False
    flags, at = data[3], 10
    if flags & 4:  # FEXTRA
        at += 2 + int.from_bytes(data[10:12], "little")
    for _ in range((flags & 0x18).bit_count()):  # FNAME, FCOMMENT
        at = data.find(b"\0", at) + 1
        if at == 0:
            return False
    return at + 2 <= len(data)  # FHCRC


@functools.cache
def decoders() -> tuple[Decoder, Decoder]:
    """The decoders of gzip and of zstd."""
    from isal import igzip_lib

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    bounds: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    return (
        Decoder(lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), igzip_lib.error, _has_gzip_header),
        Decoder(lambda: zstd.ZstdDecompressor(options=bounds), zstd.ZstdError, bool),
    )
