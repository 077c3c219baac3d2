"""Images are saved, named and compared."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from podyard.images.differences import Change
from podyard.images.layout import LayoutWriter, directory, file, hardlink, opaque, symlink, whiteout
from podyard.images.store import ImageStore


async def test_a_saved_image_is_the_same_elsewhere(
    layout: LayoutWriter, store: ImageStore, make_store: MakeStore, tmp_path: Path
) -> None:
    base = layout.add_layer({"a": directory(mode=0o711), "a/f": file("x" * 5000), "a/h": hardlink("a/f")}, "zstd")
    first = layout.add_image([base, {"b": file("b"), **whiteout("a/f")}], tags=["r.test/one:1", "r.test/one:2"])
    second = layout.add_image([base], tags=["r.test/two:1"], config={"Cmd": ["x"]})
    await store.load(layout.folder)
    size = await store.save(["r.test/one:1", second.image_id], tmp_path / "saved.tar")
    assert (tmp_path / "saved.tar").stat().st_size == size
    with tarfile.open(tmp_path / "saved.tar") as archive:
        # A layer that both have is there once.
        assert len([name for name in archive.getnames() if name == f"blobs/{base.diff_id.replace(':', '/')}"]) == 1
    other = await make_store(tmp_path / "other")
    loaded = {image.id: image.repo_tags for image in await other.load(tmp_path / "saved.tar")}
    assert loaded == {first.image_id: ("r.test/one:1", "r.test/one:2"), second.image_id: ("r.test/two:1",)}
    assert (await other.check()).findings == []
    image = other.find("r.test/one:1")
    assert image is not None
    assert (other.lower_dirs(image)[1] / "a").stat().st_mode & 0o777 == 0o711


async def test_other_tools_read_what_was_saved(
    layout: LayoutWriter, store: ImageStore, tmp_path: Path, make_store: MakeStore
) -> None:
    made = layout.add_image([{"f": file("x")}], tags=["r.test/one:1"])
    layout.add_image([{"f": file("y")}], tags=["r.test/two:1"])
    await store.load(layout.folder)
    await store.save(["r.test/two:1", "r.test/one:1"], tmp_path / "saved.tar")
    for source in ("oci-archive", "docker-archive"):
        target = tmp_path / source
        chosen = f"{source}:{tmp_path}/saved.tar:r.test/one:1"
        command = ["skopeo", "copy", "--insecure-policy", chosen, f"dir:{target}"]
        subprocess.run(command, check=True, capture_output=True)
        manifest = json.loads((target / "manifest.json").read_text())
        assert manifest["config"]["digest"] == made.image_id


async def test_what_cannot_be_saved_leaves_no_file(layout: LayoutWriter, store: ImageStore, tmp_path: Path) -> None:
    layout.add_image([{"f": file("x" * 100)}], tags=["r.test/one:1"])
    (image,) = await store.load(layout.folder)
    out = tmp_path / "out"
    out.mkdir()
    (out / "there").touch()
    with pytest.raises(AlreadyExists, match="there already"):
        await store.save(["r.test/one:1"], out / "there")
    with pytest.raises(NotFound, match=r"no image 'r\.test/two'"):
        await store.save(["r.test/one:1", "r.test/two"], out / "new")
    with pytest.raises(NotFound, match="no directory"):
        await store.save(["r.test/one:1"], out / "none/new")
    (store.lower_dirs(image)[0] / "f").write_text("changed")
    with pytest.raises(DataLoss, match="damaged"):
        await store.save(["r.test/one:1"], out / "new")
    assert os.listdir(out) == ["there"]  # noqa: PTH208


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.host
async def test_a_full_disk_leaves_no_file(layout: LayoutWriter, store: ImageStore, small_disk: Path) -> None:
    layout.add_image([{"f": file("x" * 100_000)}], tags=["r.test/one:1"])
    await store.load(layout.folder)
    with pytest.raises(ResourceExhausted):
        await store.save(["r.test/one:1"], small_disk / "new")
    assert list(small_disk.iterdir()) == []


async def test_a_further_name_is_given_and_moved(layout: LayoutWriter, make_store: MakeStore) -> None:
    store = await make_store()
    layout.add_image([{"a": file("a")}], tags=["r.test/one:1"])
    layout.add_image([{"b": file("b")}], tags=["r.test/two:1"])
    await store.load(layout.folder)
    assert store.tag("r.test/one:1", "mine").repo_tags == ("docker.io/library/mine:latest", "r.test/one:1")
    two = store.tag("r.test/two:1", "mine")
    assert store.find("mine") == two
    with pytest.raises(InvalidArgument, match="only a tag"):
        store.tag("mine", f"mine@{two.id}")
    with pytest.raises(NotFound):
        store.tag("none", "mine")
    await store.close()
    again = await make_store()
    found = again.find("mine")
    assert found is not None
    assert found.id == two.id


async def test_two_images_are_compared_by_what_they_show(layout: LayoutWriter, store: ImageStore) -> None:
    base = layout.add_layer(
        {
            "same": file("same"),
            "d": directory(),
            "d/old": file("12345"),
            "hidden": directory(xattrs={"security.before": b"x"}),
            "hidden/a": file("a"),
            "link": symlink("x"),
            "becomes": directory(),
            "becomes/below": file(""),
            "mode": file("m"),
        }
    )
    layout.add_image([base], tags=["r.test/one:1"])
    changed = {
        "same": file("same"),
        **whiteout("d/old"),
        "d/new": file("1"),
        "hidden": directory(xattrs={"security.before": b"x"}),
        **opaque("hidden"),
        "hidden/b": file("b"),
        "link": symlink("y"),
        "becomes": file("a file"),
        "mode": file("m", mode=0o600),
    }
    layout.add_image([base, changed], tags=["r.test/two:1"])
    await store.load(layout.folder)
    changes = await store.differences("r.test/one:1", "r.test/two:1")
    assert changes == [
        Change("changed", b"/becomes", 0, 6),
        Change("removed", b"/becomes/below", 0, 0),
        Change("added", b"/d/new", 0, 1),
        Change("removed", b"/d/old", 5, 0),
        Change("removed", b"/hidden/a", 1, 0),
        Change("added", b"/hidden/b", 0, 1),
        Change("changed", b"/link", 0, 0),
        Change("changed", b"/mode", 1, 1),
    ]
    assert await store.differences("r.test/one:1", "r.test/one:1") == []


async def test_files_of_one_size_are_compared_by_content(layout: LayoutWriter, store: ImageStore) -> None:
    layout.add_image([{"f": file("12345")}], tags=["r.test/one:1"])
    layout.add_image([{"f": file("12346")}], tags=["r.test/two:1"])
    await store.load(layout.folder)
    assert await store.differences("r.test/one:1", "r.test/two:1") == [Change("changed", b"/f", 5, 5)]


async def test_a_layer_without_a_record_cannot_be_saved_or_compared(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    store = await make_store()
    name = f"{upstream}/{pushed.repository}:1"
    await store.pull(name)
    await store.close()
    store._catalog._records._db.execute("UPDATE snapshots SET record = ''")
    again = await make_store()
    with pytest.raises(FailedPrecondition, match="no record"):
        await again.save([name], tmp_path / "saved.tar")
    with pytest.raises(FailedPrecondition, match="no record"):
        await again.differences(name, name)
