"""Verified files."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from tests.unit.images.conftest import left

from podyard.errors import DataLoss
from podyard.images.content import BLOCK, ContentStore, digest_of


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    content = ContentStore(tmp_path)
    content.prepare(())
    return content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_writer_verifies_what_it_wrote(content: ContentStore, algorithm: str) -> None:
    data = b"abc" * BLOCK
    with content.writer(digest_of(data, algorithm), len(data)) as writer:
        for start in range(0, len(data), 100_000):
            await writer.write(data[start : start + 100_000])
        await writer.finish()
    assert writer.path.read_bytes() == data


async def test_a_writer_refuses_another_content_and_removes_it(content: ContentStore, tmp_path: Path) -> None:
    wanted, found = digest_of(b"right"), digest_of(b"wrong")
    with pytest.raises(DataLoss, match=f"{wanted} but has {found}"), content.writer(wanted, 5) as writer:
        await writer.write(b"wrong")
        await writer.finish()
    assert left(tmp_path) == set()


async def test_a_writer_refuses_another_length(content: ContentStore, tmp_path: Path) -> None:
    digest = digest_of(b"right")
    with pytest.raises(DataLoss, match="longer than the 5 bytes"), content.writer(digest, 5) as writer:
        await writer.write(b"right!")
    with pytest.raises(DataLoss, match="has 4 bytes, its manifest says 5"), content.writer(digest, 5) as writer:
        await writer.write(b"righ")
        await writer.finish()
    assert left(tmp_path) == set()


async def test_a_writer_starts_again(content: ContentStore) -> None:
    data = bytes(BLOCK) + b"end"
    with content.writer(digest_of(data), len(data)) as writer:
        await writer.write(b"x" * (BLOCK + 1))
        await writer.restart()
        assert writer.offset == 0
        await writer.write(data)
        await writer.finish()
    assert writer.path.read_bytes() == data


async def test_a_cancelled_writer_leaves_nothing(content: ContentStore, tmp_path: Path) -> None:
    async def write() -> None:
        with content.writer(None, None) as writer:
            while True:
                await writer.write(bytes(BLOCK))

    task = asyncio.create_task(write())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(tmp_path) == set()


async def test_kept_files_survive_a_restart_and_others_do_not(tmp_path: Path, content: ContentStore) -> None:
    sha512 = f"sha512:{hashlib.sha512(b'b').hexdigest()}"
    documents = {digest_of(b"a"): b"a", sha512: b"b", digest_of(b"c"): b"c"}
    await content.add(documents)
    await content.add(documents)
    (tmp_path / "tmp/half").write_bytes(b"x")
    again = ContentStore(tmp_path)
    again.prepare({digest_of(b"a"), sha512})
    assert again.sizes() == {digest_of(b"a"): 1, sha512: 1}
    assert again.read(sha512) == b"b"
    assert not (tmp_path / "tmp/half").exists()
    with pytest.raises(DataLoss, match="missing"):
        again.read(digest_of(b"c"))
    again.remove(sha512)
    again.remove(sha512)
    assert list(again.sizes()) == [digest_of(b"a")]


async def test_whatever_else_stands_in_its_directories_goes_at_the_next_start(
    tmp_path: Path, content: ContentStore
) -> None:
    kept, lost, part = (digest_of(data) for data in (b"kept", b"lost", b"part"))
    await content.add({kept: b"kept"})
    left_by_a_pull = tmp_path / "parts" / part.replace(":", "-")
    left_by_a_pull.write_bytes(b"pa")
    for folder in ("tmp", "parts", "blobs/sha256"):
        (tmp_path / folder / "copy/deep").mkdir(parents=True)
        (tmp_path / folder / "link").symlink_to(tmp_path / "nowhere")
        (tmp_path / folder / "note").touch()
    (tmp_path / "blobs" / lost.replace(":", "/")).mkdir()
    again = ContentStore(tmp_path)
    again.prepare({kept, lost})
    assert left(tmp_path) == {f"blobs/{kept.replace(':', '/')}", str(left_by_a_pull.relative_to(tmp_path))}
    assert list(again.sizes()) == [kept]
    assert [entry.path for entry in again.parts()] == [left_by_a_pull]


async def test_a_damaged_file_is_noticed(tmp_path: Path, content: ContentStore) -> None:
    digest = digest_of(b"a")
    await content.add({digest: b"a"})
    (tmp_path / "blobs" / digest.replace(":", "/")).write_bytes(b"b")
    with pytest.raises(DataLoss, match=f"{digest} but has {digest_of(b'b')}"):
        content.read(digest)
