"""The ImageService, through the CRI, against a real registry."""

from __future__ import annotations

import json

import pytest
from tests.support.images import Images
from tests.support.pods import Kit

from podyard.cri import api
from podyard.errors import NotFound, PodyardError


async def test_pull_list_status_remove(kit: Kit, images: Images) -> None:
    service = kit.client.images
    image_id = await service.pull_image(images.small)
    assert image_id.startswith("sha256:")
    assert await service.pull_image(images.small) == image_id
    image = (await service.image_status(images.small, verbose=True)).image
    assert image.id == image_id
    assert list(image.repo_tags) == [images.small]
    assert [digest.partition("@")[0] for digest in image.repo_digests] == [images.small.rpartition(":")[0]]
    assert image.size > 0
    assert image_id in {entry.id for entry in await service.list_images()}
    await service.remove_image(images.small)
    await service.remove_image(images.small)
    assert not (await service.image_status(images.small)).HasField("image")
    assert image_id not in {entry.id for entry in await service.list_images()}


async def test_a_filter_for_one_image(kit: Kit, images: Images) -> None:
    service = kit.client.images
    image_id = await service.pull_image(images.small)
    [found] = await service.list_images(api.ImageFilter(image=api.ImageSpec(image=images.small)))
    assert found.id == image_id
    missing = api.ImageFilter(image=api.ImageSpec(image="localhost/never-seen:1"))
    assert await service.list_images(missing) == []
    await service.remove_image(images.small)


async def test_an_image_by_digest_by_id_and_by_short_id(kit: Kit, images: Images) -> None:
    service = kit.client.images
    image_id = await service.pull_image(images.small)
    image = (await service.image_status(images.small)).image
    digest = image.repo_digests[0]
    for name in (digest, image_id, image_id.removeprefix("sha256:"), image_id.removeprefix("sha256:")[:12]):
        assert (await service.image_status(name)).image.id == image_id, name
    await service.remove_image(images.small)
    assert await service.pull_image(digest) == image_id
    image = (await service.image_status(digest)).image
    assert (list(image.repo_tags), list(image.repo_digests)) == ([], [digest])
    await service.remove_image(digest)


async def test_user_of_an_image(kit: Kit, images: Images) -> None:
    service = kit.client.images
    await service.pull_image(images.configured)
    image = (await service.image_status(images.configured)).image
    assert (image.uid.value, image.username) == (0, "member")


async def test_what_an_image_sets(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.configured)
    sandbox_id = await kit.sandbox()
    spec = api.ImageSpec(image=images.configured)
    status = await kit.ended(await kit.start(sandbox_id, image=spec))
    assert kit.output(status) == "entry cmd\n/work member-home image-value\n1000\n"
    status = await kit.ended(await kit.start(sandbox_id, image=spec, args=["other"]))
    assert kit.output(status).startswith("entry other\n")
    status = await kit.ended(await kit.start(sandbox_id, ["echo", "only"], image=spec))
    assert kit.output(status) == "only\n"


async def test_a_volume_of_the_image_starts_with_its_content(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.configured)
    sandbox_id = await kit.sandbox()
    spec = api.ImageSpec(image=images.configured)
    output = await kit.shell(sandbox_id, "cat /volume/file; grep -c ' /volume ' /proc/self/mountinfo", image=spec)
    assert output == "in the volume\n1\n"


async def test_layers_links_whiteouts_and_attributes(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.layered)
    sandbox_id = await kit.sandbox()
    script = (
        "ls /a; cat /a/replaced /hard; stat -c '%a %u %g' /a/mode; stat -c %u /a/big; readlink /a/link; "
        "ls /opaque; test ! -e /gone && echo no gone"
    )
    output = await kit.shell(sandbox_id, script, image=api.ImageSpec(image=images.layered))
    assert output == ("big\nlink\nmode\nreplaced\nnew\nshared\n4755 12 34\n3000000000\n/etc/passwd\nnew\nno gone\n")


@pytest.mark.parametrize("name", ["zstd", "docker", "index"])
async def test_kinds_of_manifests_and_layers(kit: Kit, images: Images, name: str) -> None:
    reference = getattr(images, name)
    await kit.client.images.pull_image(reference)
    sandbox_id = await kit.sandbox()
    assert await kit.shell(sandbox_id, "cat /kind", image=api.ImageSpec(image=reference)) == f"{name}\n"


async def test_verbose_status(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.configured)
    info = json.loads((await kit.client.images.image_status(images.configured, verbose=True)).info["info"])
    assert info["chainID"].startswith("sha256:")
    assert info["imageSpec"]["config"]["WorkingDir"] == "/work"


async def test_a_missing_image_is_not_found_and_named(kit: Kit, images: Images) -> None:
    with pytest.raises(NotFound, match="no-such-image"):
        await kit.client.images.pull_image(f"{images.registry}/no-such-image:1")
    with pytest.raises(NotFound, match="no-such-tag"):
        await kit.client.images.pull_image(f"{images.small.rpartition(':')[0]}:no-such-tag")


async def test_a_broken_reference_is_refused(kit: Kit) -> None:
    with pytest.raises(PodyardError, match="UPPER"):
        await kit.client.images.pull_image("host/UPPER:::x")


async def test_a_wrong_digest_is_refused(kit: Kit, images: Images) -> None:
    before = {entry.id for entry in await kit.client.images.list_images()}
    with pytest.raises(PodyardError):
        await kit.client.images.pull_image(f"{images.small.rpartition(':')[0]}@sha256:{'0' * 64}")
    assert {entry.id for entry in await kit.client.images.list_images()} == before


async def test_the_file_system_is_accounted_for(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.layered)
    info = await kit.client.images.image_fs_info()
    [usage] = info.image_filesystems
    assert usage.timestamp > 0
    assert usage.used_bytes.value > 0
    assert usage.inodes_used.value > 0
    assert usage.fs_id.mountpoint.startswith("/")


async def test_an_image_in_use_can_be_removed_and_its_container_goes_on(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.small)
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], image=api.ImageSpec(image=images.small))
    await kit.client.images.remove_image(images.small)
    assert await kit.exec(container_id, "cat", "/kind") == "small\n"
    assert not (await kit.client.images.image_status(images.small)).HasField("image")
