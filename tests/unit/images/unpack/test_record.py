"""Records of layers: an unpacked layer is compared with its archive, and packed again to the bit."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.images.unpack.archives import digest

from podyard.errors import DataLoss, FailedPrecondition, Internal, ResourceExhausted
from podyard.images.unpack import check_layer, pack_layer, unpack_layer

TAR = "application/vnd.oci.image.layer.v1.tar"

pytestmark = pytest.mark.host


@dataclass
class Unpacked:
    """A layer and its record."""

    archive: bytes
    tree: Path
    record: Path

    async def check(self) -> list[str]:
        return await check_layer(self.tree, self.record, diff_id=digest(self.archive))

    async def pack(self, output: Path) -> int:
        return await pack_layer(self.tree, self.record, output, diff_id=digest(self.archive))


async def unpacked(folder: Path, archive: bytes) -> Unpacked:
    """Unpack an archive and keep its record."""
    tree = folder / "tree"
    tree.mkdir()
    (folder / "blob").write_bytes(archive)
    result = await unpack_layer(folder / "blob", TAR, tree, diff_id=digest(archive), record=folder / "record")
    assert result.record == digest((folder / "record").read_bytes())
    return Unpacked(archive, tree, folder / "record")


def packed(folder: Path, *options: str) -> bytes:
    """A tree of all kinds of files, as GNU tar packs it."""
    source = folder / "source"
    (source / "a/b").mkdir(parents=True)
    noise = random.Random(1)
    for number in range(50):
        (source / f"a/f{number}").write_bytes(noise.randbytes(number * 97))
    (source / "large").write_bytes(noise.randbytes(700_000))
    (source / ("n" * 200)).write_text("a long name")
    os.link(source / "large", source / "a/hard")
    (source / "link").symlink_to("a/f1")
    (source / "a/f2").chmod(0o4755)
    os.chown(source / "a/f3", 1000, 2000)
    os.mkfifo(source / "fifo")
    with open(source / "sparse", "wb") as sparse:
        sparse.seek(300_000)
        sparse.write(b"in the middle")
        sparse.truncate(900_000)
    if "--xattrs" in options:
        os.setxattr(source / "a/f4", "user.note", b"kept")
    packed = subprocess.run(["tar", "-C", source, *options, "-cf", "-", "."], capture_output=True, check=True)
    shutil.rmtree(source)
    return packed.stdout


@pytest.mark.parametrize(
    "options",
    [("--format=gnu",), ("--format=pax",), ("--format=gnu", "--sparse"), ("--format=pax", "--sparse", "--xattrs")],
    ids=" ".join,
)
async def test_a_layer_is_packed_again_to_the_bit(tmp_path: Path, options: tuple[str, ...]) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, *options))
    assert await layer.check() == []
    assert await layer.pack(tmp_path / "again") == len(layer.archive)
    assert (tmp_path / "again").read_bytes() == layer.archive


def _rewrite(tree: Path) -> None:
    path = tree / "a/f9"
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda tree: (tree / "a/f7").unlink(), "'a/f7' is missing"),
        (lambda tree: (tree / "a/f1").chmod(0o600), "'a/f1' differs: mode 644 is 600"),
        (lambda tree: os.chown(tree / "a/f1", 5, 6), "'a/f1' differs: uid 0 is 5, gid 0 is 6"),
        (lambda tree: os.truncate(tree / "large", 5), "'large' is shorter than it was"),
        (lambda tree: (tree / "a/more").write_text(""), "'a/more' is not of the layer"),
        (lambda tree: os.utime(tree / "a/b", ns=(1, 1)), "'a/b' differs: mtime"),
        (lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("x")), "'link' differs: .*b'x'"),
        (lambda tree: ((tree / "link").unlink(), (tree / "link").mkdir()), "should be a symbolic link but is a dir"),
        (lambda tree: os.setxattr(tree / "a/f1", "user.more", b""), "'a/f1' differs: xattrs"),
        (lambda tree: ((tree / "a/hard").unlink(), shutil.copy2(tree / "large", tree / "a/hard")), "hard.* link"),
        (_rewrite, "content has the digest sha256:.* instead of sha256:"),
    ],
)
async def test_what_has_changed_is_told(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, "--format=pax"))
    damage(layer.tree)
    problems = "\n".join(await layer.check())
    assert re.search(text, problems), problems


async def test_a_damaged_layer_is_not_packed(tmp_path: Path) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, "--format=gnu"))
    _rewrite(layer.tree)
    with pytest.raises(DataLoss, match="podyard fsck --repair"):
        await layer.pack(tmp_path / "again")


async def test_many_problems_are_counted(tmp_path: Path) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, "--format=gnu"))
    shutil.rmtree(layer.tree / "a")
    problems = await layer.check()
    assert len(problems) == 21
    assert problems[-1].endswith("problems more")


async def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, "--format=gnu"))
    whole = layer.record.read_bytes()
    for content in (b"", whole[:100], whole[:-20], whole[:50] + b"\xff" * 50 + whole[100:]):
        layer.record.write_bytes(content)
        with pytest.raises(DataLoss, match="record"):
            await layer.check()
    layer.record.unlink()
    with pytest.raises(Internal, match="cannot open"):
        await layer.check()


async def test_an_archive_that_replaces_its_own_files_cannot_be_made_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for text in ("first", "second"):
        (source / "f").write_text(text)
        subprocess.run(["tar", "-C", source, "-rf", tmp_path / "twice.tar", "f"], check=True)
    layer = await unpacked(tmp_path, (tmp_path / "twice.tar").read_bytes())
    assert (layer.tree / "f").read_text() == "second"
    with pytest.raises(FailedPrecondition, match="two files of one name"):
        await layer.check()


async def test_a_full_disk_is_told_when_a_layer_is_packed(tmp_path: Path) -> None:
    layer = await unpacked(tmp_path, packed(tmp_path, "--format=gnu"))
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", full], check=True)
    try:
        with pytest.raises(ResourceExhausted, match="cannot be written: No space"):
            await layer.pack(full / "again")
    finally:
        subprocess.run(["umount", full], check=True)
