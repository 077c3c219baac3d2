"""Header blocks: name/value pairs through zlib with SPDY/3's dictionary (SPDY Protocol, draft 3, 2.6.10).

Each direction of a session is one zlib stream: every block must pass, also those that nobody wants.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from podyard.wire.spdy.frames import FrameError

_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_WORDS = [*_NAMES.split(" "), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]

_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)

DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS) + _REST.encode()
"""The specification's: words with their lengths, as they stand in a block, then what values are often made of."""

WINDOW_BITS = 11
"""2 KiB, of which zlib uses all but 262 bytes: enough for the dictionary's 1423."""


class Compressor:
    """The sending direction. Its window holds the dictionary and little more: by default zlib takes 256 KiB."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(wbits=WINDOW_BITS, memLevel=1, zdict=DICTIONARY)

    def compress(self, headers: Mapping[str, str]) -> bytes:
        """A block, whole by itself: it is flushed to a byte's end."""
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                content = text.encode("utf-8", "surrogateescape")
                parts += [struct.pack(">I", len(content)), content]
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Decompressor:
    """The receiving direction. ``limit``: bytes that one block may have when it is decompressed."""

    def __init__(self, limit: int) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)
        self._limit = limit

    def decompress(self, block: bytes) -> dict[str, str]:
        """The headers of a block; a name's several values are joined by NUL, as the specification has it.

        Raises FrameError for what is no header block, or one beyond the limit.
        """
        try:
            content = self._zlib.decompress(block, self._limit + 1)
        except zlib.error as error:
            raise FrameError(f"a header block cannot be decompressed: {error}") from error
        if len(content) > self._limit:
            raise FrameError(f"a header block of more than {self._limit} bytes")
        return _parse(content)


def _parse(content: bytes) -> dict[str, str]:
    count, at = _number(content, 0)
    if count > len(content) // 8:
        raise FrameError(f"a header block says that it has {count} headers, in {len(content)} bytes")
    headers: dict[str, str] = {}
    for _ in range(count):
        name, at = _text(content, at)
        value, at = _text(content, at)
        if not name or name in headers or name != name.lower():
            raise FrameError(f"the header name {name[:100]!r} is empty, not in lower case, or there twice")
        headers[name] = value
    if at != len(content):
        raise FrameError(f"{len(content) - at} bytes behind the headers of a block")
    return headers


def _number(content: bytes, at: int) -> tuple[int, int]:
    if at + 4 > len(content):
        raise FrameError("a header block ends in the middle")
    return int.from_bytes(content[at : at + 4]), at + 4


def _text(content: bytes, at: int) -> tuple[str, int]:
    length, at = _number(content, at)
    if at + length > len(content):
        raise FrameError("a header block ends in the middle")
    return content[at : at + length].decode("utf-8", "surrogateescape"), at + length
