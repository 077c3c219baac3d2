"""Header blocks of SPDY/3.1: names and values through zlib with the specification's dictionary."""

from __future__ import annotations

import zlib

from podyard.wire.spdy.headers import DICTIONARY, WINDOW_BITS, Compressor, Decompressor


def test_the_dictionary_is_the_specifications() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2  # what a zlib stream made with it names


def test_several_values_of_a_header_stay_together() -> None:
    headers = {"a": "one\0two", "ünïcode": "wörld"}
    assert Decompressor(1000).decompress(Compressor().compress(headers)) == headers


def test_headers_are_compressed_in_little_memory() -> None:
    # An own window of 2 KiB: what a peer needs to read it stands in the stream's first byte (RFC 1950, 2.2).
    assert (Compressor().compress({"streamtype": "stdin"})[0] >> 4) + 8 == WINDOW_BITS
    headers = {f"name-{number}": "value" * number for number in range(400)}
    compressor, decompressor = Compressor(), Decompressor(1 << 20)
    for _ in range(3):
        assert decompressor.decompress(compressor.compress(headers)) == headers
