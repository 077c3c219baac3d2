"""The archive of a checkpoint, out of a writable layer with overlayfs' marks in it."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from podyard.errors import AlreadyExists
from podyard.runtime.checkpoint_archive import Saved, partial, write

pytestmark = pytest.mark.host  # devices, and attributes of overlayfs, are root's to make


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    for name in ("upper", "top", "bottom", "images", "work", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").touch()
    return Saved(
        id="c" * 64,
        name="main",
        image="busybox",
        image_id="sha256:1",
        image_ref="busybox@sha256:2",
        runtime="runc",
        created_at=1,
        spec={"process": {}},
        upper=tmp_path / "upper",
        lower=[tmp_path / "top", tmp_path / "bottom"],
        images=tmp_path / "images",
        work=tmp_path / "work",
    )


def opaque(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def written(saved: Saved, target: Path) -> tuple[list[str], list[str]]:
    """What the archive says was written, and what was deleted."""
    write(saved, target)
    with tarfile.open(target) as archive:
        diff, deleted = archive.extractfile("rootfs-diff.tar"), archive.extractfile("deleted.files")
        assert diff is not None
        assert deleted is not None
        with tarfile.open(fileobj=io.BytesIO(diff.read())) as changes:
            return sorted(changes.getnames()), sorted(json.loads(deleted.read()))


def test_what_was_deleted_is_told_apart_from_what_was_written(saved: Saved, tmp_path: Path) -> None:
    os.mknod(saved.upper / "gone", stat.S_IFCHR, os.makedev(0, 0))
    (saved.upper / "new").touch()
    assert written(saved, tmp_path / "x.tar") == (["new"], ["gone"])


def test_a_directory_made_anew_has_lost_what_all_layers_had_in_it(saved: Saved, tmp_path: Path) -> None:
    for layer, name in ((saved.lower[0], "a"), (saved.lower[1], "b"), (saved.lower[1], "kept")):
        (layer / "etc").mkdir(exist_ok=True)
        (layer / "etc" / name).touch()
    opaque(saved.upper / "etc")
    (saved.upper / "etc" / "kept").touch()
    assert written(saved, tmp_path / "x.tar") == (["etc", "etc/kept"], ["etc/a", "etc/b"])


def test_so_has_a_directory_in_one_that_was_made_anew(saved: Saved, tmp_path: Path) -> None:
    (saved.lower[0] / "etc" / "ssl").mkdir(parents=True)
    (saved.lower[0] / "etc" / "ssl" / "old").touch()
    opaque(saved.upper / "etc")
    (saved.upper / "etc" / "ssl").mkdir()
    assert written(saved, tmp_path / "x.tar") == (["etc", "etc/ssl"], ["etc/ssl/old"])


def test_a_link_in_a_layer_leads_nowhere(saved: Saved, tmp_path: Path) -> None:
    (saved.lower[0] / "d").symlink_to(tmp_path)
    opaque(saved.upper / "d" / "outside")
    assert written(saved, tmp_path / "x.tar") == (["d", "d/outside"], [])


def test_an_archive_is_never_overwritten_and_a_failure_leaves_a_known_file(saved: Saved, tmp_path: Path) -> None:
    target = tmp_path / "x.tar"
    target.write_text("mine")
    with pytest.raises(AlreadyExists, match="another location"):
        write(saved, target)
    assert target.read_text() == "mine"
    partial(target, saved.id).unlink()
