"""What is here, under which names, and what goes when."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import registry
from tests.support.faulty import Proxy
from tests.unit.images.conftest import MakeStore, Pushed, left

from podyard.errors import InvalidArgument, NotFound, ResourceExhausted
from podyard.images.layout import LayoutWriter, WrittenManifest, directory, file
from podyard.images.store import ImageStore
from podyard.linux import mounts
from podyard.state.database import Database


@pytest.fixture
def small(layout: LayoutWriter) -> WrittenManifest:
    """An image of two layers with two names, in a layout."""
    return layout.add_image(
        [{"a": file("a")}, {"b": file("b")}], tags=["docker.io/library/small:1", "quay.io/x/small:2"]
    )


async def test_an_image_is_found_by_all_that_names_it(
    layout: LayoutWriter, small: WrittenManifest, store: ImageStore
) -> None:
    (image,) = await store.load(layout.folder)
    digits = image.id.removeprefix("sha256:")
    for name in (
        "small:1",
        "library/small:1",
        "docker.io/library/small:1",
        "quay.io/x/small:2",
        f"small@{small.digest}",
        f"quay.io/x/small:other@{small.digest}",
        small.digest,
        image.id,
        digits,
        digits[:12],
        image.id[:19],
    ):
        assert store.find(name) == image, name
    for name in ("small", "small:2", "quay.io/x/small:1", f"small@{image.id}", "f" * 64, "sha256:" + "f" * 64):
        assert store.find(name) is None, name
    with pytest.raises(InvalidArgument):
        store.find("A B")
    with pytest.raises(InvalidArgument):
        store.find("")


async def test_the_beginning_of_several_ids_is_refused_unless_it_is_a_name(
    layout: LayoutWriter, store: ImageStore
) -> None:
    by_digit: dict[str, list[WrittenManifest]] = {}
    for number in range(40):
        made = layout.add_image([], config={"Cmd": [str(number)]}, listed=False)
        by_digit.setdefault(made.image_id.removeprefix("sha256:")[0], []).append(made)
    digit, (first, second, *_) = next((digit, made) for digit, made in by_digit.items() if len(made) > 1)
    for number, made in enumerate((first, second)):
        layout._list(made, [f"docker.io/library/n{number}:1"])
    await store.load(layout.folder)
    with pytest.raises(InvalidArgument, match="ambiguous"):
        store.find(digit)
    named = layout.add_image([], tags=[f"docker.io/library/{digit}:latest"], config={"Cmd": ["named"]})
    await store.load(layout.folder)
    found = store.find(digit)
    assert found is not None
    assert found.id == named.image_id


@pytest.mark.parametrize("by", ["tag", "other tag", "digest", "id", "short id"])
async def test_any_name_removes_the_image_with_all_names(
    layout: LayoutWriter, small: WrittenManifest, store: ImageStore, by: str
) -> None:
    (image,) = await store.load(layout.folder)
    await store.remove(
        {
            "tag": "small:1",
            "other tag": "quay.io/x/small:2",
            "digest": f"small@{small.digest}",
            "id": image.id,
            "short id": image.id[7:19],
        }[by]
    )
    assert (store.images(), store.find("small:1"), store.usage().size, left(store.folder)) == ([], None, 0, set())
    await store.remove("small:1")
    with pytest.raises(NotFound, match="removed meanwhile"):
        store.lower_dirs(image)


async def test_layers_that_another_image_has_stay(layout: LayoutWriter, store: ImageStore) -> None:
    base = layout.add_layer({"base": file("")})
    layout.add_image([base], tags=["a.test/one:1"])
    layout.add_image([base, {"more": file("")}], tags=["a.test/two:1"])
    one, two = await store.load(layout.folder)
    await store.remove(one.id)
    assert store.images() == [two]
    assert all(folder.is_dir() for folder in store.lower_dirs(two))
    assert (store.lower_dirs(two)[1] / "base").exists()
    await store.remove(two.id)
    assert left(store.folder) == set()


async def test_a_container_keeps_the_layers_but_not_the_names(
    layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore
) -> None:
    containers: set[str] = set()
    store = await make_store(in_use=lambda: containers)
    (image,) = await store.load(layout.folder)
    folders = store.lower_dirs(image)
    containers.add(image.id)
    await store.remove("small:1")
    assert (store.images(), store.find(image.id), store.find("small:1")) == ([], None, None)
    assert {user.repo_tags for _, users in store.layers() for user in users} == {()}
    assert [item.name for item in store.garbage.survey() if item.kind == "image"] == [image.id]
    await store.release()
    assert [(folder / name).exists() for folder, name in zip(folders, "ba", strict=True)] == [True, True]
    # A restart changes nothing of that.
    await store.close()
    store = await make_store(in_use=lambda: containers)
    assert (store.images(), folders[0].exists()) == ([], True)
    containers.clear()
    await store.release()
    assert left(store.folder) == set()


async def test_an_image_that_comes_back_is_whole_again(
    layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore
) -> None:
    containers: set[str] = set()
    store = await make_store(in_use=lambda: containers)
    (image,) = await store.load(layout.folder)
    containers.add(image.id)
    await store.remove(image.id)
    assert await store.load(layout.folder) == [image]
    containers.clear()
    await store.release()
    assert store.find("small:1") == image
    assert all(folder.is_dir() for folder in store.lower_dirs(image))


async def test_images_survive_a_restart(layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore) -> None:
    store = await make_store(pinned=["small:1"])
    (image,) = await store.load(layout.folder)
    assert image.pinned
    before = (store.image_config(image), store.lower_dirs(image), store.usage(), left(store.folder))
    await store.close()
    store = await make_store(pinned=["small:1"])
    assert store.images() == [image]
    assert (store.image_config(image), store.lower_dirs(image), store.usage(), left(store.folder)) == before


async def test_the_start_removes_what_no_record_names(
    layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore
) -> None:
    store = await make_store()
    await store.load(layout.folder)
    whole = left(store.folder)
    await store.close()
    for folder in ("l/77", "l/78.new", "l/79.old"):
        (store.folder / folder / "deep").mkdir(parents=True)
        (store.folder / folder / "deep/file").touch()
    (store.folder / "tmp/abcdef").touch()
    (store.folder / "blobs/sha256" / ("0" * 64)).touch()
    database = Database(store.folder.parent / "images.db")
    database.execute(
        "INSERT INTO snapshots (chain_id, folder, size, inodes) "
        "VALUES ('sha256:orphan', 80, 1, 1), ('sha256:gone', 81, 1, 1)"
    )
    database.close()
    (store.folder / "l/80").mkdir()
    store = await make_store()
    assert left(store.folder) == whole
    assert store.find("small:1") is not None


@pytest.mark.parametrize("lost", ["a layer", "the configuration", "half the configuration"])
async def test_an_image_that_lost_a_part_is_forgotten(
    layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore, lost: str
) -> None:
    store = await make_store()
    (image,) = await store.load(layout.folder)
    configuration = store.folder / "blobs" / image.id.replace(":", "/")
    if lost == "a layer":
        shutil.rmtree(store.lower_dirs(image)[0])
    elif lost == "the configuration":
        configuration.unlink()
    else:
        os.truncate(configuration, 10)
    await store.close()
    store = await make_store()
    assert (store.images(), left(store.folder)) == ([], set())
    assert await store.load(layout.folder) == [image]


async def test_a_layer_waits_for_all_below_that_a_damaged_disk_has_lost(
    proxy: Proxy, upstream: str, layout: LayoutWriter, make_store: MakeStore
) -> None:
    layers = [layout.add_layer({f"d{number}": directory()}) for number in range(3)]
    for name, count in (("two", 2), ("three", 3)):
        registry.push(upstream, layout, layout.add_image(layers[:count]), f"lost/{name}", "1")
    store = await make_store()
    two = await store.pull(f"{upstream}/lost/two:1")
    lowest = store.lower_dirs(two)[-1]
    await store.close()
    shutil.rmtree(lowest)
    # A container keeps the other layer.
    store = await make_store(in_use=lambda: {two.id})
    topmost = asyncio.Event()

    async def come_last(_: web.Request, answer: web.Response) -> web.StreamResponse:
        await topmost.wait()
        return answer

    async def come_first(_: web.Request, answer: web.Response) -> web.StreamResponse:
        asyncio.get_running_loop().call_later(0.2, topmost.set)
        return answer

    proxy.fault(layers[0].digest, come_last)
    proxy.fault(layers[2].digest, come_first)
    three = await store.pull(f"{proxy.address}/lost/three:1")
    assert [os.listdir(folder) for folder in store.lower_dirs(three)] == [["d2"], ["d1"], ["d0"]]  # noqa: PTH208


async def test_an_image_without_layers_has_an_empty_directory_below(layout: LayoutWriter, store: ImageStore) -> None:
    layout.add_image([], tags=["a.test/empty:1"])
    (image,) = await store.load(layout.folder)
    (folder,) = store.lower_dirs(image)
    assert list(folder.iterdir()) == []
    assert image.size > 0


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from podyard.images import records, snapshots, store
from podyard.images.unpack import Stack
from podyard.images.config import ImagesConfig
from podyard.images.content import ContentStore
from podyard.state.database import Database

when, what, folder, layout = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def killing(owner, name):
    whole = getattr(owner, name)
    if asyncio.iscoroutinefunction(whole):
        async def call(*args, **kwargs):
            if when == "before":
                die()
            await whole(*args, **kwargs)
            die()
    else:
        def call(*args, **kwargs):
            if when == "before":
                die()
            whole(*args, **kwargs)
            die()
    setattr(owner, name, call)

killing(*{
    "unpack": (Stack, "unpack"),
    "sync": (snapshots.Snapshots, "sync"),
    "snapshot": (records.ImageRecords, "save_snapshot"),
    "documents": (ContentStore, "add"),
    "image": (records.ImageRecords, "save_image"),
}[what])

async def main():
    images = store.ImageStore(Path(folder), Database(Path(folder + ".db")), ImagesConfig(), set)
    await images.start()
    await images.load(Path(layout))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ("after", "unpack"),
        ("before", "snapshot"),
        ("after", "snapshot"),
        ("after", "sync"),
        ("after", "documents"),
        ("before", "image"),
        ("after", "image"),
    ],
)
async def test_a_kill_at_any_moment_leaves_all_of_an_image_or_nothing(
    tmp_path: Path, layout: LayoutWriter, small: WrittenManifest, make_store: MakeStore, when: str, what: str
) -> None:
    argv = [sys.executable, "-c", KILLED, when, what, str(tmp_path / "images"), str(layout.folder)]
    result = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    assert result.returncode == -signal.SIGKILL, result.stderr
    store = await make_store()
    if (when, what) == ("after", "image"):
        image = store.find("small:1")
        assert image is not None
        assert all(folder.is_dir() for folder in store.lower_dirs(image))
    else:
        assert (store.images(), left(store.folder)) == ([], set())
        await store.load(layout.folder)
    assert [(folder / name).exists() for folder, name in zip(store.lower_dirs(store.images()[0]), "ba", strict=True)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounts.mount_tmpfs(folder, "size=3m")
    yield folder
    mounts.remove_tree(folder)


@pytest.mark.host
@pytest.mark.parametrize("size", [8 << 20, 2_900_000], ids=["blob", "layer"])
async def test_a_full_disk_leaves_nothing(
    upstream: str, layout: LayoutWriter, make_store: MakeStore, disk: Path, size: int
) -> None:
    made = layout.add_image([{"small": file("x")}, {"large": file(os.urandom(size))}], tags=["a.test/large:1"])
    fits = layout.add_image([{"other": file("y" * 100_000)}], tags=["a.test/fits:1"])
    registry.push(upstream, layout, made, f"full/disk-{size}", "1")
    registry.push(upstream, layout, fits, f"full/fits-{size}", "1")
    store = await make_store(disk / "images")
    with pytest.raises(ResourceExhausted):
        await store.pull(f"{upstream}/full/disk-{size}:1")
    assert (store.images(), left(store.folder)) == ([], set())
    with pytest.raises(ResourceExhausted):
        await store.load(layout.folder)
    assert left(store.folder) == set()
    image = await store.pull(f"{upstream}/full/fits-{size}:1")
    assert image.id == fits.image_id


@pytest.mark.host
async def test_many_layers_make_one_root_file_system(
    tmp_path: Path, layout: LayoutWriter, make_store: MakeStore
) -> None:
    layout.add_image([{f"f{n}": file(str(n)), "last": file(str(n))} for n in range(32)], tags=["a.test/many:1"])
    store = await make_store()
    (image,) = await store.load(layout.folder)
    root = tmp_path / "root"
    for name in ("root", "upper", "work"):
        (tmp_path / name).mkdir()
    mounts.mount_overlay(store.lower_dirs(image), tmp_path / "upper", tmp_path / "work", root)
    try:
        assert {path.name for path in root.iterdir()} == {"last", *(f"f{n}" for n in range(32))}
        assert (root / "last").read_text() == "31"
    finally:
        mounts.unmount(root)


async def test_what_was_pulled_is_what_was_loaded(
    upstream: str, layout: LayoutWriter, pushed: Pushed, store: ImageStore
) -> None:
    pulled = await store.pull(f"{upstream}/{pushed.repository}:1")
    (loaded,) = await store.load(layout.folder)
    assert loaded.id == pulled.id
    assert len(store.images()) == 1
    assert set(loaded.repo_tags) == {f"{upstream}/{pushed.repository}:1", "docker.io/library/pushed:1"}
