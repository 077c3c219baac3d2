"""The CRI's ImageService."""

from __future__ import annotations

import json
import os
import time

import pytest
from tests.unit.images.conftest import MakeStore, Pushed

from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound
from podyard.images.layout import LayoutWriter, directory, file, hardlink, symlink
from podyard.images.manifest import chain_ids
from podyard.images.service import ImageService
from podyard.images.store import ImageStore


@pytest.fixture
def service(store: ImageStore) -> ImageService:
    return ImageService(store)


def _spec(name: str) -> api.ImageSpec:
    return api.ImageSpec(image=name)


async def test_an_image_s_life(upstream: str, pushed: Pushed, service: ImageService) -> None:
    name = f"{upstream}/{pushed.repository}:1"
    pulled = await service.PullImage(api.PullImageRequest(image=_spec(name)))
    assert pulled.image_ref == pushed.manifest.image_id
    (image,) = (await service.ListImages(api.ListImagesRequest())).images
    assert (image.id, list(image.repo_tags)) == (pushed.manifest.image_id, [name])
    assert list(image.repo_digests) == [f"{upstream}/{pushed.repository}@{pushed.manifest.digest}"]
    assert image.size > 600_000
    assert (image.uid.value, image.username, image.pinned) == (7, "", False)
    for reference in (name, image.id, image.id[7:20], image.repo_digests[0]):
        status = await service.ImageStatus(api.ImageStatusRequest(image=_spec(reference)))
        assert (status.image, dict(status.info)) == (image, {})
    for _ in range(2):
        await service.RemoveImage(api.RemoveImageRequest(image=_spec(name)))
    assert not (await service.ListImages(api.ListImagesRequest())).images


@pytest.mark.parametrize(
    ("user", "uid", "name"),
    [
        ("", None, ""),
        ("0", 0, ""),
        ("1000:50", 1000, ""),
        ("www-data", None, "www-data"),
        ("www-data:www", None, "www-data"),
        (":5", None, ""),
        ("²", None, "²"),
    ],
)
async def test_a_user_is_a_number_or_a_name(
    layout: LayoutWriter, store: ImageStore, service: ImageService, user: str, uid: int | None, name: str
) -> None:
    layout.add_image([], config={"User": user})
    await store.load(layout.folder)
    (image,) = (await service.ListImages(api.ListImagesRequest())).images
    assert image.HasField("uid") == (uid is not None)
    assert (image.uid.value, image.username) == (uid or 0, name)


async def test_the_filter_names_one_image(layout: LayoutWriter, store: ImageStore, service: ImageService) -> None:
    layout.add_image([], config={"User": "1"}, tags=["docker.io/library/one:latest"])
    layout.add_image([], config={"User": "2"}, tags=["docker.io/library/two:latest"])
    await store.load(layout.folder)

    async def listed(name: str) -> list[str]:
        request = api.ListImagesRequest(filter=api.ImageFilter(image=_spec(name)))
        return [tag for image in (await service.ListImages(request)).images for tag in image.repo_tags]

    assert await listed("one") == ["docker.io/library/one:latest"]
    assert await listed("three") == []
    assert len(await listed("")) == 2


async def test_verbose_status_has_the_configuration(
    layout: LayoutWriter, store: ImageStore, service: ImageService
) -> None:
    layers = [layout.add_layer({name: file(name)}) for name in "ab"]
    layout.add_image(layers, tags=["docker.io/library/one:latest"], config={"Env": ["A=ä"]})
    await store.load(layout.folder)
    status = await service.ImageStatus(api.ImageStatusRequest(image=_spec("one"), verbose=True))
    info = json.loads(status.info["info"])
    assert info["chainID"] == chain_ids([layer.diff_id for layer in layers])[-1]
    assert info["imageSpec"]["config"]["Env"] == ["A=ä"]


async def test_an_unknown_image_has_an_empty_status_and_a_removal_that_does_nothing(service: ImageService) -> None:
    assert await service.ImageStatus(api.ImageStatusRequest(image=_spec("none"))) == api.ImageStatusResponse()
    assert await service.RemoveImage(api.RemoveImageRequest(image=_spec("none"))) == api.RemoveImageResponse()


async def test_an_empty_name_is_refused(service: ImageService) -> None:
    for call in (
        service.PullImage(api.PullImageRequest()),
        service.ImageStatus(api.ImageStatusRequest()),
        service.RemoveImage(api.RemoveImageRequest()),
    ):
        with pytest.raises(InvalidArgument, match="name is empty"):
            await call


async def test_a_missing_image_is_not_found(upstream: str, service: ImageService) -> None:
    with pytest.raises(NotFound):
        await service.PullImage(api.PullImageRequest(image=_spec(f"{upstream}/no/such:1")))


async def test_the_file_system_is_what_images_take(
    layout: LayoutWriter, store: ImageStore, service: ImageService, make_store: MakeStore
) -> None:
    names = [f"d/{number}" for number in range(300)]
    trees = [
        {"a": file("x" * 100_000), "b": file(""), "c": hardlink("a"), "e": symlink("y" * 200)},
        {"d": directory(), **{name: file(name * 100) for name in names}},
    ]
    layout.add_image(trees, tags=["docker.io/library/one:latest"])

    async def usage() -> tuple[int, int]:
        answer = await service.ImageFsInfo(api.ImageFsInfoRequest())
        (images,) = answer.image_filesystems
        assert images.fs_id.mountpoint == str(store.folder)
        assert abs(images.timestamp - time.time_ns()) < 60 * 10**9
        assert answer.container_filesystems[0].fs_id == images.fs_id
        return images.used_bytes.value, images.inodes_used.value

    assert await usage() == (0, 0)
    await store.load(layout.folder)
    os.sync()
    files = [path for top in ("l", "records", "blobs") for path in (store.folder / top).rglob("*")]
    always = [store.folder / name for name in ("l/0", "blobs/sha256", "blobs/sha512")]
    # To the block and the inode; a file with two names counts once.
    found = {path.lstat().st_ino: path.lstat() for path in files if path not in always}
    assert await usage() == (sum(512 * status.st_blocks for status in found.values()), len(found))
    again = await make_store()
    assert again.usage() == store.usage()
    await store.remove("one")
    assert await usage() == (0, 0)


async def test_messages_follow_the_names(layout: LayoutWriter, store: ImageStore, service: ImageService) -> None:
    made = layout.add_image([], tags=["docker.io/library/one:latest"])
    await store.load(layout.folder)
    (first,) = (await service.ListImages(api.ListImagesRequest())).images
    layout._list(made, ["docker.io/library/two:latest"])
    await store.load(layout.folder)
    (second,) = (await service.ListImages(api.ListImagesRequest())).images
    assert list(first.repo_tags) == ["docker.io/library/one:latest"]
    assert list(second.repo_tags) == ["docker.io/library/one:latest", "docker.io/library/two:latest"]
