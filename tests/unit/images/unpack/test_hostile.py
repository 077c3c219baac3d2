"""A corpus of hostile and damaged archives: refused with the right error, or harmless outside of the root."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest
from tests.unit.images.unpack.archives import TAR, describe, digest
from tests.unit.images.unpack.cases import Case
from tests.unit.images.unpack.damaged import BLOBS, DAMAGED, GREEDY
from tests.unit.images.unpack.hostile import ESCAPES, SHAPES, WHITEOUTS

from podyard.images.unpack import unpack_layer

CASES = [*ESCAPES, *WHITEOUTS, *SHAPES, *DAMAGED, *BLOBS, *GREEDY]

pytestmark = pytest.mark.host


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace("/", "|"))
async def test_a_hostile_archive_changes_nothing_outside_its_root(case: Case, tmp_path: Path) -> None:
    outside, target, blob = tmp_path / "outside", tmp_path / "target", tmp_path / "blob"
    outside.mkdir()
    target.mkdir()
    (outside / "secret").write_text("safe")
    before = describe(outside)
    content = case.build(str(outside).encode())
    blob.write_bytes(content)
    uncompressed = gzip.decompress(content) if content[:2] == b"\x1f\x8b" and _whole(content) else content

    if case.error is None:
        result = await unpack_layer(blob, TAR, target, diff_id=digest(uncompressed), limits=case.limits)
        assert result.inodes == len({path.lstat().st_ino for path in (target, *target.rglob("*"))})
        assert case.holds(target)
    else:
        with pytest.raises(case.error, match=case.match) as caught:
            await unpack_layer(blob, TAR, target, diff_id=digest(uncompressed), limits=case.limits)
        assert type(caught.value) is case.error

    assert describe(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "target", "blob"}


def _whole(content: bytes) -> bool:
    try:
        gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return False
    return True


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100
