"""Random trees, packed by GNU tar, come out of podyard as they come out of ``tar -xp``."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.images.unpack.archives import TAR, describe, digest, links

from podyard.images.unpack import unpack_layer

pytestmark = pytest.mark.host

_NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and not name.startswith(".wh.") and len(name.encode()) < 200)
_IDS = st.one_of(st.integers(0, 2000), st.sampled_from([65534, 2**21, 2**31 + 5, 2**32 - 2]))
_ENTRIES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["file", "file", "folder", "symlink", "hardlink", "fifo", "device", "sparse"]),
        "name": _NAMES,
        "inside": st.integers(0, 20),
        "mode": st.integers(0, 0o7777),
        "owner": st.tuples(_IDS, _IDS),
        "mtime": st.integers(0, 2**33 - 1).map(lambda seconds: seconds * 10**9 + seconds % 10**9),
        "data": st.binary(max_size=1500),
        "xattr": st.one_of(st.none(), st.binary(max_size=60)),
    }
)


@settings(
    max_examples=int(os.environ.get("UT_EX", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(entries=st.lists(_ENTRIES, max_size=25), form=st.sampled_from(["gnu", "pax", "ustar"]))
def test_a_tree_packed_by_gnu_tar_comes_out_as_by_gnu_tar(tmp_path: Path, entries: list[dict], form: str) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        base = Path(folder)
        for name in ("tree", "ours", "theirs"):
            (base / name).mkdir()
        _grow(base / "tree", entries, form)
        attributes = ["--xattrs", "--xattrs-include=*"] if form == "pax" else []
        sparse = ["--sparse"] if form != "ustar" else []
        pack = [
            "tar",
            f"--format={form}",
            *attributes,
            *sparse,
            "--numeric-owner",
            "-C",
            base / "tree",
            "-cf",
            base / "tar",
        ]
        subprocess.run([*pack, "."], check=True, capture_output=True)
        unpack = ["tar", *attributes, "--numeric-owner", "-C", base / "theirs", "-xpf", base / "tar"]
        subprocess.run(unpack, check=True, capture_output=True)

        result = asyncio.run(
            unpack_layer(base / "tar", TAR, base / "ours", diff_id=digest((base / "tar").read_bytes()))
        )

        assert describe(base / "ours") == describe(base / "theirs")
        assert links(base / "ours") == links(base / "theirs")
        assert result.left_out == ()
        assert result.inodes == len({path.lstat().st_ino for path in (base / "ours", *(base / "ours").rglob("*"))})


def _grow(root: Path, entries: list[dict], form: str) -> None:
    folders, files, made = [root], [], []
    for entry in entries:
        path = folders[entry["inside"] % len(folders)] / entry["name"]
        if path.is_symlink() or path.exists() or len(os.fsencode(path.relative_to(root))) > 90:
            continue
        kind = entry["kind"]
        if kind == "folder":
            path.mkdir()
            folders.append(path)
        elif kind == "symlink":
            path.symlink_to(
                entry["data"][:90].replace(b"\0", b"/").decode("latin-1").encode("ascii", "replace") or b"x"
            )
        elif kind == "hardlink" and files:
            os.link(files[entry["inside"] % len(files)], path)
            continue
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
        else:
            _write(path, entry["data"], sparse=kind == "sparse")
            files.append(path)
        made.append((path, entry))
    for path, entry in reversed(made):
        # ustar has neither ids beyond 21 bits nor attributes.
        uid, gid = (min(number, 2**21 - 1) for number in entry["owner"]) if form == "ustar" else entry["owner"]
        os.chown(path, uid, gid, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(entry["mode"])
            if entry["xattr"] is not None and (path.is_dir() or path.is_file()):
                os.setxattr(path, "user.podyard", entry["xattr"])
        os.utime(path, ns=(entry["mtime"], entry["mtime"]), follow_symlinks=False)


def _write(path: Path, data: bytes, *, sparse: bool) -> None:
    with path.open("wb") as file:
        for offset in (100_000, 900_000) if sparse else ():
            file.seek(offset)
            file.write(data * 4)
            file.truncate(2_000_000)
        if not sparse:
            file.write(data)
