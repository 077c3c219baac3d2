"""Layers unpacked by a worker: formats, attributes, damage, limits of the host."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd
from tests.unit.images.unpack.archives import (
    BLOCK,
    END,
    TAR,
    base256,
    describe,
    digest,
    file,
    folder,
    hardlink,
    header,
    longname,
    padded,
    pax,
    symlink,
)

from podyard.errors import DataLoss, Internal, InvalidArgument, ResourceExhausted, Unimplemented
from podyard.images.unpack import UnpackResult, unpack_layer
from podyard.linux import mounts

pytestmark = pytest.mark.host

Unpack = Callable[..., object]

NO_ID = 2**32 - 1


async def unpack(folder: Path, blob: bytes, archive: bytes | None = None) -> UnpackResult:
    """Unpack ``blob`` into ``folder``/target."""
    (folder / "target").mkdir()
    (folder / "blob").write_bytes(blob)
    return await unpack_layer(folder / "blob", TAR, folder / "target", diff_id=digest(archive or blob))


ARCHIVE = folder(b"d") + file(b"d/a", os.urandom(300_000)) + file(b"b") + END


@pytest.mark.parametrize(
    "blob",
    [
        ARCHIVE,
        gzip.compress(ARCHIVE),
        gzip.compress(ARCHIVE[:1000]) + gzip.compress(b"") + gzip.compress(ARCHIVE[1000:]),
        gzip.compress(ARCHIVE) + bytes(1000),
        zstd.compress(ARCHIVE),
        zstd.compress(ARCHIVE[:1000]) + zstd.compress(ARCHIVE[1000:]),
        b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd.compress(ARCHIVE) + b"\x5f\x2a\x4d\x18\x04\0\0\0skip",
    ],
    ids=["plain", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames", "zstd skippable frames"],
)
async def test_every_compression_gives_the_same_layer(tmp_path: Path, blob: bytes) -> None:
    result = await unpack(tmp_path, blob, ARCHIVE)
    assert result == UnpackResult(size=300_004, inodes=4, diff_id=digest(ARCHIVE))
    assert (tmp_path / "target/d/a").read_bytes() == ARCHIVE[2 * BLOCK :][:300_000]


async def test_an_empty_layer_is_a_root_directory(tmp_path: Path) -> None:
    assert (await unpack(tmp_path, b"")).inodes == 1
    status = (tmp_path / "target").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, 0)


async def test_another_digest_is_told_with_both(tmp_path: Path) -> None:
    with pytest.raises(DataLoss) as caught:
        await unpack(tmp_path, ARCHIVE, b"another")
    assert digest(ARCHIVE) in str(caught.value)
    assert digest(b"another") in str(caught.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
async def test_a_layer_cut_anywhere_is_data_loss(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    blob = compress(pax((b"path", b"long")) + file(b"a", os.urandom(700)) + symlink(b"l", b"a") + END)
    for number, size in enumerate(range(0, len(blob), BLOCK)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(DataLoss):
            await unpack(folder, blob[:size], b"whole")


async def test_owners_modes_and_times_are_kept(tmp_path: Path) -> None:
    archive = (
        folder(b"./", mode=0o1777, uid=3, mtime=5)
        + folder(b"g", mode=0o2755, gid=9)
        + file(b"g/suid", mode=0o6755, uid=1, gid=2, mtime=1)
        + file(b"big", uid=base256(2**32 - 2, 8), gid=base256(2**31 + 7, 8))
        + pax((b"uid", b"4000000000"), (b"mtime", b"-1.25"))
        + file(b"pax")
        + pax((b"mtime", b"1700000000.123456789"))
        + symlink(b"l", b"nowhere", gid=8)
        + header(b"n", b"3", device=(1, 3), mode=0o666, uid=5)
        + header(b"p", b"6", mode=0o4600, uid=5)
        + END
    )
    await unpack(tmp_path, archive)
    seen = {
        name: (mode, owner, mtime, device)
        for name, (mode, owner, mtime, device, *_) in describe(tmp_path / "target").items()
    }
    then = 1_700_000_000 * 10**9
    assert seen == {
        ".": ("0o41777", (3, 0), 5 * 10**9, 0),
        "g": ("0o42755", (0, 9), then, 0),
        "g/suid": ("0o106755", (1, 2), 10**9, 0),
        "big": ("0o100644", (2**32 - 2, 2**31 + 7), then, 0),
        "pax": ("0o100644", (4_000_000_000, 0), -1_250_000_000, 0),
        "l": ("0o120777", (0, 8), then + 123_456_789, 0),
        "n": ("0o20666", (5, 0), then, os.makedev(1, 3)),
        "p": ("0o14600", (5, 0), then, 0),
    }


ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry) for entry in [(1, 7, NO_ID), (2, 7, 33), (4, 5, NO_ID), (16, 7, NO_ID), (32, 0, NO_ID)]
)
"""An access control list: user 33 may do all, others nothing."""


@pytest.mark.parametrize("of", ["set-group-ID", "default access control list"])
async def test_the_directory_that_holds_the_layers_leaves_no_mark_on_them(tmp_path: Path, of: str) -> None:
    if of == "set-group-ID":
        os.chown(tmp_path, 0, 50)
        tmp_path.chmod(0o2755)
    else:
        os.setxattr(tmp_path, "system.posix_acl_default", ACL)
    await unpack(tmp_path, folder(b"d") + file(b"d/f") + file(b"left/out") + symlink(b"s", b"d") + END)
    found = {name: (*about[:2], about[-1]) for name, about in describe(tmp_path / "target").items()}
    directory, regular, root = oct(stat.S_IFDIR | 0o755), oct(stat.S_IFREG | 0o644), (0, 0)
    assert found == {
        **dict.fromkeys([".", "d", "left"], (directory, root, {})),
        **dict.fromkeys(["d/f", "left/out"], (regular, root, {})),
        "s": (oct(stat.S_IFLNK | 0o777), root, {}),
    }


@pytest.mark.parametrize(
    "capability",
    [struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0), struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 100_000)],
    ids=["version 2", "version 3"],
)
async def test_file_capabilities_are_kept(tmp_path: Path, capability: bytes) -> None:
    archive = pax((b"SCHILY.xattr.security.capability", capability)) + file(b"ping", uid=7, mode=0o755) + END
    assert (await unpack(tmp_path, archive)).left_out == ()
    assert os.getxattr(tmp_path / "target/ping", "security.capability") == capability


async def test_attributes_are_set_or_told_to_be_left_out(tmp_path: Path) -> None:
    attributes = pax(
        (b"SCHILY.xattr.user.a", b"1\n\0"), (b"SCHILY.xattr.trusted.b", b""), (b"SCHILY.xattr.security.selinux", b"x")
    )
    archive = attributes + file(b"f") + attributes + folder(b"d") + attributes + symlink(b"l", b"f") + END
    result = await unpack(tmp_path, archive)
    for name in ("f", "d"):
        path = tmp_path / "target" / name
        assert {key: os.getxattr(path, key) for key in os.listxattr(path)} == {"user.a": b"1\n\0", "trusted.b": b""}
    # Linux has no user.* attributes of symbolic links.
    assert [text.split(":")[0] for text in result.left_out] == ["attribute 'security.selinux'", "attribute 'user.a'"]


async def test_hard_links_are_one_file_and_a_later_entry_replaces_an_earlier_one(tmp_path: Path) -> None:
    archive = (
        file(b"a", b"old")
        + hardlink(b"sub/b", b"/a")
        + file(b"x/y/z", b"gone")
        + symlink(b"x/y", b"/sub")
        + file(b"x/y/c", b"through the link")
        + hardlink(b"d", b"x/y/b")
        + file(b"a", b"new")
        + END
    )
    result = await unpack(tmp_path, archive)
    target = tmp_path / "target"
    assert (target / "a").read_bytes() == b"new"
    assert (target / "sub/b").stat().st_ino == (target / "d").stat().st_ino
    assert (target / "sub/b").read_bytes() == b"old"
    assert (target / "sub/c").read_bytes() == b"through the link"
    assert result.size == len("old" + "new" + "through the link")
    assert result.inodes == len({path.lstat().st_ino for path in (target, *target.rglob("*"))})


async def test_long_names_of_every_kind(tmp_path: Path) -> None:
    gnu, prefix = b"g" * 120 + b"/" + b"x" * 200, b"p" * 120
    archive = (
        longname(gnu)
        + file(b"cut")
        + file(b"name", prefix=prefix)
        + pax((b"path", "päth/ünïcode".encode()))
        + file(b"ascii")
        + longname(gnu, b"K")
        + hardlink(b"h", b"cut")
        + header(b"old/", b"\0")
        + END
    )
    await unpack(tmp_path, archive)
    target = tmp_path / "target"
    assert (target / gnu.decode()).stat().st_ino == (target / "h").stat().st_ino
    assert (target / prefix.decode() / "name").is_file()
    assert (target / "päth/ünïcode").is_file()
    assert (target / "old").is_dir()


@pytest.mark.parametrize(
    "options",
    [["--format=gnu"], *(["--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
    ids=["gnu", "pax 0.0", "pax 0.1", "pax 1.0"],
)
async def test_sparse_files_of_gnu_tar_keep_their_holes(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "s").open("wb") as sparse:
        for number in range(60):
            sparse.seek(number * 1_000_000)
            sparse.write(b"%d" % number * 2000)
        sparse.truncate(70_000_000)
    (source / "empty").touch()
    os.truncate(source / "empty", 5_000_000)
    subprocess.run(["tar", *options, "--sparse", "-C", source, "-cf", tmp_path / "tar", "."], check=True)
    await unpack(tmp_path, (tmp_path / "tar").read_bytes())
    target = tmp_path / "target"
    assert sorted(os.listdir(target)) == ["empty", "s"]  # noqa: PTH208
    assert subprocess.run(["cmp", source / "s", target / "s"]).returncode == 0
    assert ((target / "empty").stat().st_size, (target / "empty").stat().st_blocks) == (5_000_000, 0)
    assert (target / "s").stat().st_blocks * 512 < 3_000_000


async def test_only_names_that_begin_as_those_of_aufs_are_left_out(tmp_path: Path) -> None:
    target, blob = tmp_path / "target", tmp_path / "blob"
    target.mkdir()
    archive = file(b"a.wh..wh.b") + file(b".wh..wh.aufs") + file(b"d/.wh..wh.plnk/1") + file(b"e/x.wh..wh.y/z") + END
    blob.write_bytes(archive)
    await unpack_layer(blob, TAR, target, diff_id=digest(archive))
    assert sorted(describe(target)) == [".", "a.wh..wh.b", "e", "e/x.wh..wh.y", "e/x.wh..wh.y/z"]


async def test_a_sparse_file_that_is_too_large_for_the_file_system_is_refused(tmp_path: Path) -> None:
    largest = 2**63 - 1
    try:
        (tmp_path / "probe").touch()
        os.truncate(tmp_path / "probe", largest)
        pytest.skip("the file system of the tests has no limit")
    except OSError as error:
        assert error.errno == errno.EFBIG
    sparse = pax((b"GNU.sparse.size", b"%d" % largest), (b"GNU.sparse.map", b"%d,4" % (largest - 4))) + file(b"a")
    with pytest.raises(InvalidArgument, match="'a' cannot be on this file system: File too large"):
        await unpack(tmp_path, sparse + END)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounts.mount_tmpfs(disk, "size=1m,nr_inodes=100")
    yield disk
    mounts.unmount(disk)


@pytest.mark.parametrize(
    "archive",
    [file(b"a", bytes(100)) + file(b"big", bytes(3 << 20)), b"".join(file(b"%d" % number) for number in range(200))],
    ids=["no bytes left", "no inodes left"],
)
async def test_a_full_disk_is_told(small_disk: Path, tmp_path: Path, archive: bytes) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(archive + END)
    with pytest.raises(ResourceExhausted, match="No space left on device; free space"):
        await unpack_layer(blob, TAR, small_disk, diff_id=digest(archive + END))


async def test_a_full_disk_is_told_when_the_record_is_written(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filling").write_bytes(bytes(2 << 20))
    (tmp_path / "target").mkdir()
    # What is written to the record at once, between two members.
    archive = pax((b"comment", os.urandom(700_000))) + file(b"a") + END
    (tmp_path / "blob").write_bytes(archive)
    with pytest.raises(ResourceExhausted, match="No space left on device; free space"):
        await unpack_layer(
            tmp_path / "blob", TAR, tmp_path / "target", diff_id=digest(archive), record=small_disk / "record"
        )


async def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(padded(b""))
    with pytest.raises(Unimplemented, match="encrypted"):
        await unpack_layer(tmp_path / "blob", f"{TAR}+encrypted", tmp_path, diff_id=digest(b""))
    with pytest.raises(InvalidArgument, match="md5:1"):
        await unpack_layer(tmp_path / "blob", TAR, tmp_path, diff_id="md5:1")
    with pytest.raises(Internal, match=r"cannot open .*/nothing: No such file"):
        await unpack_layer(tmp_path / "nothing", TAR, tmp_path, diff_id=digest(b""))
    with pytest.raises(Internal, match=r"confine itself to .*/nowhere: No such file"):
        await unpack_layer(tmp_path / "blob", TAR, tmp_path / "nowhere", diff_id=digest(b""))
