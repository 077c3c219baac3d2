"""What stands on the disk is compared with digests and records, and fetched again."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import registry
from tests.support.faulty import Proxy, status
from tests.unit.images.conftest import MakeStore, Pushed, left

from podyard.errors import DataLoss
from podyard.images.catalog import Entry
from podyard.images.fsck import Report, problems
from podyard.images.layout import LayoutWriter, directory, file
from podyard.images.store import ImageStore
from podyard.model.image import Image


@pytest.fixture
async def image(upstream: str, pushed: Pushed, store: ImageStore) -> Image:
    """An image of two layers, pulled."""
    return await store.pull(f"{upstream}/{pushed.repository}:1")


def _texts(report: Report) -> list[str]:
    return [finding.text for finding in problems(report.findings)]


async def test_nothing_is_wrong_with_what_was_just_pulled(image: Image, store: ImageStore) -> None:
    report = await store.check()
    assert (report.images, report.layers, report.documents, report.findings) == (1, 2, 2, [])


async def test_a_changed_file_is_found_and_fetched_again(image: Image, store: ImageStore, proxy: Proxy) -> None:
    noise = store.lower_dirs(image)[0] / "noise"
    times = noise.stat()
    good = noise.read_bytes()
    noise.write_bytes(good[:1000] + b"\0" + good[1001:])
    os.utime(noise, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "its content has the digest" in _texts(await store.check())[0]
    report = await store.check(repair=True)
    assert [finding.repaired for finding in report.findings] == [True]
    assert (store.lower_dirs(image)[0] / "noise").read_bytes() == good
    assert (await store.check()).findings == []
    assert [item.why for item in store.garbage.survey() if not item.held] == []


async def test_a_lost_document_and_a_lost_record_are_fetched_again(
    image: Image, store: ImageStore, pushed: Pushed
) -> None:
    (store.folder / "blobs/sha256" / image.id.removeprefix("sha256:")).write_text("{}")
    (store.folder / "blobs/sha256" / pushed.manifest.digest.removeprefix("sha256:")).unlink()
    next((store.folder / "records").iterdir()).unlink()
    texts = "\n".join(_texts(await store.check()))
    assert "is missing from the content store" in texts
    assert f"should have the digest {image.id}" in texts
    report = await store.check(repair=True)
    assert _texts(report) == []
    assert (await store.check()).findings == []


async def test_files_that_the_disk_cannot_give_end_no_check(image: Image, store: ImageStore, pushed: Pushed) -> None:
    top, base = store.lower_dirs(image)
    manifest = store.folder / "blobs/sha256" / pushed.manifest.digest.removeprefix("sha256:")
    record = store.folder / "records" / base.name
    for path in (manifest, record):
        # Reading a directory fails, as reading from a bad sector does.
        path.unlink()
        path.mkdir()
    (top / "noise").unlink()
    texts = _texts(await store.check())
    assert f"{pushed.manifest.digest} of the content store cannot be read: Is a directory" in texts
    assert f"the record {record} of the layer cannot be read: Is a directory" in texts
    assert "'noise' is missing" in texts


async def test_an_image_that_the_disk_cannot_give_does_not_keep_the_daemon_from_starting(
    image: Image, store: ImageStore, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.close()
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == image.id.removeprefix("sha256:"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    again = await make_store()
    assert again.images() == []


async def test_a_lost_directory_of_a_layer_is_found_and_fetched_again(image: Image, store: ImageStore) -> None:
    folder = store.lower_dirs(image)[0]
    shutil.rmtree(folder)
    assert _texts(await store.check()) == [f"the layer's directory {folder} is missing"]
    with pytest.raises(DataLoss, match="is missing"):
        await store.save([image.id], store.folder.parent / "saved.tar")
    assert _texts(await store.check(repair=True)) == []
    assert (store.lower_dirs(image)[0] / "noise").exists()
    assert (await store.check()).findings == []


async def test_an_image_whose_layer_is_lost_can_be_removed(image: Image, store: ImageStore) -> None:
    shutil.rmtree(store.lower_dirs(image)[0])
    await store.remove(image.id)
    assert left(store.folder) == set()


async def test_a_repair_survives_the_next_start(
    upstream: str, pushed: Pushed, make_store: MakeStore, tmp_path: Path
) -> None:
    store = await make_store()
    image = await store.pull(f"{upstream}/{pushed.repository}:1")
    (store.lower_dirs(image)[0] / "noise").unlink()
    await store.check(repair=True)
    await store.close()
    again = await make_store()
    assert (await again.check()).findings == []
    assert (again.lower_dirs(image)[0] / "noise").exists()


async def test_a_repair_that_does_not_come_to_its_end_costs_no_image_at_the_next_boot(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore
) -> None:
    store = await make_store()
    image = await store.pull(f"{proxy.address}/{pushed.repository}:1")
    top, base = store.lower_dirs(image)
    (top / "noise").unlink()
    (base / "etc/name").unlink()

    async def refuse_later(request: web.Request, answer: web.Response) -> web.StreamResponse:
        while store.lower_dirs(image)[1] == base:
            await asyncio.sleep(0.01)
        return web.Response(status=403)

    proxy.fault(pushed.layers[1], refuse_later)
    assert any("not repaired" in text for text in _texts(await store.check(repair=True)))
    assert (store.lower_dirs(image)[1] / "etc/name").exists()
    await store.close()
    store._catalog._records._db.execute("UPDATE snapshots SET boot_id = 'another' WHERE boot_id != ''")
    again = await make_store()
    assert [known.id for known in again.images()] == [image.id]
    assert _texts(await again.check(repair=True)) == []


async def test_layers_of_containers_are_left_alone(upstream: str, pushed: Pushed, make_store: MakeStore) -> None:
    used: set[str] = set()
    store = await make_store(in_use=lambda: used)
    image = await store.pull(f"{upstream}/{pushed.repository}:1")
    used.add(image.id)
    folder = store.lower_dirs(image)[0]
    (folder / "noise").unlink()
    texts = _texts(await store.check(repair=True))
    assert texts
    assert all("not repaired: containers use the layer" in text for text in texts)
    assert store.lower_dirs(image)[0] == folder


@pytest.mark.parametrize("moment", ["/manifests/", "/blobs/"])
async def test_layers_of_containers_that_come_meanwhile_are_left_alone(
    proxy: Proxy, pushed: Pushed, make_store: MakeStore, moment: str
) -> None:
    used: set[str] = set()
    store = await make_store(in_use=lambda: used)
    image = await store.pull(f"{proxy.address}/{pushed.repository}:1")
    folder = store.lower_dirs(image)[0]
    (folder / "noise").unlink()

    async def make_container(request: web.Request, answer: web.Response) -> web.StreamResponse:
        used.add(image.id)
        return answer

    proxy.fault(moment, make_container, times=9)
    texts = _texts(await store.check(repair=True))
    assert texts
    assert all("not repaired" in text and "containers use the layer" in text for text in texts)
    assert store.lower_dirs(image)[0] == folder
    assert folder.is_dir()


async def test_images_that_are_removed_meanwhile_lack_nothing(
    store: ImageStore, layout: LayoutWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        layout.add_image([{"n": file(str(number))}], tags=[f"r.test/{number}:1"])
    await store.load(layout.folder)
    compare = store._checker._check_documents

    async def comparing(entry: Entry, report: Report) -> dict[str, str]:
        found = await compare(entry, report)
        await store.remove("r.test/1:1")
        return found

    monkeypatch.setattr(store._checker, "_check_documents", comparing)
    report = await store.check()
    assert (report.images, report.layers, report.findings) == (2, 2, [])


async def test_an_image_that_is_removed_while_it_is_repaired_does_not_come_back(
    proxy: Proxy, pushed: Pushed, store: ImageStore
) -> None:
    image = await store.pull(f"{proxy.address}/{pushed.repository}:1")
    (store.lower_dirs(image)[0] / "noise").unlink()

    async def remove(request: web.Request, answer: web.Response) -> web.StreamResponse:
        await store.remove(image.id)
        return answer

    proxy.fault("/manifests/", remove)
    await store.check(repair=True)
    assert store.images() == []
    await store.garbage.run()
    assert left(store.folder) == set()


async def test_what_cannot_be_fetched_again_is_told(
    proxy: Proxy, pushed: Pushed, store: ImageStore, layout: LayoutWriter
) -> None:
    image = await store.pull(f"{proxy.address}/{pushed.repository}:1")
    (store.lower_dirs(image)[0] / "noise").unlink()
    proxy.fault("/manifests/", status(404), times=9)
    texts = _texts(await store.check(repair=True))
    assert "not repaired" in texts[0]
    assert "does not have it" in texts[0]
    # It can be used as far as it is there, and repaired later.
    proxy._faults.clear()
    assert _texts(await store.check(repair=True)) == []


async def test_an_image_with_other_layers_than_its_configuration_is_not_called_repaired(
    image: Image, store: ImageStore, make_store: MakeStore, upstream: str, pushed: Pushed
) -> None:
    await store.close()
    store._catalog._records._db.execute("UPDATE images SET layers = '[]'")
    again = await make_store()
    report = await again.check(repair=True)
    assert [(finding.kind, finding.repaired) for finding in report.findings] == [("image", False)]
    # As its text says.
    await again.remove(image.id)
    await again.pull(f"{upstream}/{pushed.repository}:1")
    assert (await again.check()).findings == []


async def test_a_name_of_an_image_that_the_database_has_lost_is_nothing(
    image: Image, store: ImageStore, make_store: MakeStore
) -> None:
    await store.close()
    database = store._catalog._records._db
    database.execute("PRAGMA foreign_keys = OFF")
    database.execute("DELETE FROM images")
    again = await make_store()
    assert again.find(image.repo_tags[0]) is None
    assert (await again.pull(image.repo_tags[0])).repo_tags == image.repo_tags
    assert (await again.check()).findings == []


async def test_an_image_without_a_registry_is_told_to_be_loaded_again(store: ImageStore, layout: LayoutWriter) -> None:
    layout.add_image([{"a": file("a")}])
    (image,) = await store.load(layout.folder)
    (store.lower_dirs(image)[0] / "a").unlink()
    texts = _texts(await store.check(repair=True))
    assert texts
    assert all("load it again" in text for text in texts)


async def test_what_another_image_has_brought_back_is_not_called_lost(
    upstream: str, pushed: Pushed, layout: LayoutWriter, store: ImageStore, tmp_path: Path
) -> None:
    loaded = LayoutWriter(tmp_path / "loaded")
    loaded.add_image([{"etc": directory(), "etc/name": file(pushed.repository)}])
    await store.load(loaded.folder)
    image = await store.pull(f"{upstream}/{pushed.repository}:1")
    (store.lower_dirs(image)[1] / "etc/name").unlink()
    report = await store.check(repair=True)
    assert report.findings
    assert all(item.repaired and "not repaired" not in item.text for item in report.findings)


async def test_a_layer_whose_image_has_a_damaged_configuration_is_not_said_to_have_none(
    image: Image, store: ImageStore
) -> None:
    (store.folder / "blobs/sha256" / image.id.removeprefix("sha256:")).write_text("{}")
    notes = [finding.text for finding in (await store.check()).findings if finding.note]
    assert len(notes) == 2
    assert all("the configurations of its images are damaged" in text for text in notes)


async def test_a_layer_of_an_older_version_is_only_noted(
    image: Image, store: ImageStore, make_store: MakeStore
) -> None:
    await store.close()
    store._catalog._records._db.execute("UPDATE snapshots SET record = ''")
    again = await make_store()
    report = await again.check()
    assert [finding.note for finding in report.findings] == [True, True]
    assert problems(report.findings) == []


async def test_all_of_a_shared_layer_s_images_are_checked_once(
    upstream: str, pushed: Pushed, layout: LayoutWriter, store: ImageStore
) -> None:
    other = layout.add_image([pushed.written[0], {"other": file("x")}])
    registry.push(upstream, layout, other, "check/other", "1")
    await store.pull(f"{upstream}/{pushed.repository}:1")
    await store.pull(f"{upstream}/check/other:1")
    report = await store.check()
    assert (report.images, report.layers, report.findings) == (2, 3, [])
