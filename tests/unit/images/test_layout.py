"""The writer of layouts, as another tool reads them."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from podyard.images.layout import (
    Compression,
    Family,
    LayoutWriter,
    device,
    directory,
    fifo,
    file,
    hardlink,
    opaque,
    symlink,
    whiteout,
)

TAG = "docker.io/example/app:1"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_another_tool_takes_the_layout(tmp_path: Path, layout: LayoutWriter, compression: Compression) -> None:
    made = layout.add_image([{"a": file("a")}], tags=[TAG], config={"Cmd": ["/a"]}, compression=compression)
    inspect = ["skopeo", "inspect", f"oci:{layout.folder}:{TAG}"]
    described = json.loads(subprocess.run(inspect, check=True, capture_output=True, timeout=60).stdout)
    assert described["Digest"] == made.digest
    copy = ["skopeo", "copy", "--quiet", f"oci:{layout.folder}:{TAG}", f"dir:{tmp_path / 'copy'}"]
    subprocess.run(copy, check=True, timeout=60)
    assert (tmp_path / "copy" / made.image_id.removeprefix("sha256:")).is_file()


def test_a_tree_has_all_kinds_of_entries(layout: LayoutWriter) -> None:
    layer = layout.add_layer(
        {
            "d": directory(mode=0o1777, uid=3),
            "d/f": file(b"data", mode=0o4755, uid=1, gid=3_000_000_000, xattrs={"user.x": b"\xff\x00y"}),
            "d/h": hardlink("d/f"),
            "d/s": symlink("/etc"),
            "d/c": device("c", 1, 3),
            "d/b": device("b", 8, 0),
            "d/p": fifo(),
            **whiteout("d/gone"),
            **opaque("d"),
        },
        "none",
    )
    with tarfile.open(fileobj=io.BytesIO(layout.path(layer.digest).read_bytes())) as tar:
        found = {member.name: member for member in tar}
    assert (found["d"].mode, found["d"].uid, found["d"].isdir()) == (0o1777, 3, True)
    written = found["d/f"]
    assert (written.mode, written.uid, written.gid, written.size) == (0o4755, 1, 3_000_000_000, 4)
    assert written.pax_headers["SCHILY.xattr.user.x"].encode("utf-8", "surrogateescape") == b"\xff\x00y"
    assert (found["d/h"].islnk(), found["d/h"].linkname) == (True, "d/f")
    assert (found["d/s"].issym(), found["d/s"].linkname) == (True, "/etc")
    assert (found["d/c"].ischr(), found["d/c"].devmajor, found["d/c"].devminor) == (True, 1, 3)
    assert found["d/b"].isblk()
    assert found["d/p"].isfifo()
    assert {"d/.wh.gone", "d/.wh..wh..opq"} <= found.keys()


@pytest.mark.parametrize("family", ["oci", "docker"])
def test_the_same_input_gives_the_same_digests(tmp_path: Path, family: Family) -> None:
    digests = set()
    for name in ("one", "two"):
        layout = LayoutWriter(tmp_path / name)
        image = layout.add_image([{"a": file("a")}], tags=[TAG], family=family)
        digests.add(layout.add_index([image], family=family).digest)
        layout.pack(tmp_path / f"{name}.tar")
    assert len(digests) == 1
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert ("docker" in image.media_type) == (family == "docker")


def test_a_file_can_come_from_this_host(tmp_path: Path, layout: LayoutWriter) -> None:
    (tmp_path / "source").write_bytes(b"\x7fELF")
    layer = layout.add_layer({"bin/x": file(tmp_path / "source", mode=0o755)}, "none")
    with tarfile.open(fileobj=io.BytesIO(layout.path(layer.digest).read_bytes())) as tar:
        member = tar.extractfile("bin/x")
        assert member is not None
        assert member.read() == b"\x7fELF"
