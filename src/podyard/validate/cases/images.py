"""ImageService: status, list, remove, file systems."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, lacks, matches, skip
from podyard.validate.kit import Kit


async def _one(kit: Kit, **more: Any) -> tuple[str, api.Image]:
    """A small image that is the case's alone: its reference, and what its status says."""
    reference = await asyncio.to_thread(kit.session.images.unique, **more)
    await kit.pull(reference)
    return reference, (await kit.images.image_status(reference)).image


@case("images", "an id is the digest of a configuration")
async def _(kit: Kit) -> None:
    matches((await _one(kit))[1].id, "sha256:[0-9a-f]{64}", "id")


@case("images", "an image has its tag and its digest")
async def _(kit: Kit) -> None:
    reference, image = await _one(kit)
    equal(list(image.repo_tags), [reference], "repo_tags")
    matches(" ".join(image.repo_digests), reference.rpartition(":")[0] + "@sha256:[0-9a-f]{64}", "repo_digests")


@case("images", "an image has a size")
async def _(kit: Kit) -> None:
    holds((await _one(kit))[1].size > 0, "size above 0", 0)


USERS: dict[str, tuple[str, tuple[int, str]]] = {
    "a number": ("1002", (1002, "")),
    "a name": ("nobody", (0, "nobody")),
    "a number and a group": ("1003:1004", (1003, "")),
    "a name and a group": ("nobody:1004", (0, "nobody")),
    "none": ("", (0, "")),
}


@table("images", {f"the user of an image: {name}": row for name, row in USERS.items()})
async def _(kit: Kit, user: str, expected: tuple[int, str]) -> None:
    image = (await _one(kit, config={"User": user}))[1]
    equal((image.uid.value, image.username), expected, "uid and username")
    if image.username == "" and user:
        holds(image.HasField("uid"), "uid is filled", "absent")


@case("images", "no image is the answer for one that is not here")
async def _(kit: Kit) -> None:
    answer = await kit.images.image_status(f"{kit.session.registry.address}/validate/never-seen:1")
    holds(not answer.HasField("image"), "an answer without image", answer)


@case("images", "details come only when they are asked for, and have the image's configuration")
async def _(kit: Kit) -> None:
    reference = await kit.image("configured")
    equal(dict((await kit.images.image_status(reference)).info), {}, "info without verbose")
    info = (await kit.images.image_status(reference, verbose=True)).info
    contains(info, "info", "info with verbose")
    equal(json.loads(info["info"])["imageSpec"]["config"]["WorkingDir"], "/work", "WorkingDir in info[info]")


@table(
    "images",
    {
        "an image is found by its tag": (lambda reference, image: reference,),
        "an image is found by its digest": (lambda reference, image: image.repo_digests[0],),
        "an image is found by its id": (lambda reference, image: image.id,),
        "an image is found by its id without sha256:": (lambda reference, image: image.id.removeprefix("sha256:"),),
        "an image is found by the beginning of its id": (lambda reference, image: image.id[7:27],),
    },
)
async def _(kit: Kit, named: Any) -> None:
    reference, image = await _one(kit)
    equal((await kit.images.image_status(named(reference, image))).image.id, image.id, "id")


@case("images", "the list has an image once, with its names")
async def _(kit: Kit) -> None:
    reference, image = await _one(kit)
    found = [entry for entry in await kit.images.list_images() if entry.id == image.id]
    equal([list(entry.repo_tags) for entry in found], [[reference]], "repo_tags in the list")


@case("images", "two tags of one image are one image")
async def _(kit: Kit) -> None:
    images = kit.session.images
    made = images.runnable(config={"Labels": {"two": kit.session.id}})
    names = [images.publish(f"validate/two-{next(kit.session.numbers)}", tag, made) for tag in ("a", "b")]
    ids = {await kit.pull(name) for name in names}
    equal(len(ids), 1, "different ids")
    image = (await kit.images.image_status(names[0])).image
    equal(sorted(image.repo_tags), sorted(names), "repo_tags")


@case("images", "a filter by name finds that image")
async def _(kit: Kit) -> None:
    reference, image = await _one(kit)
    wanted = api.ImageFilter(image=api.ImageSpec(image=reference))
    equal([entry.id for entry in await kit.images.list_images(wanted)], [image.id], "ids")


@case("images", "a filter for what is not here finds nothing")
async def _(kit: Kit) -> None:
    wanted = api.ImageFilter(image=api.ImageSpec(image="localhost/never-seen:1"))
    equal([entry.id for entry in await kit.images.list_images(wanted)], [], "ids")


@table(
    "images",
    {
        f"an empty filter finds all ({name})": (wanted,)
        for name, wanted in {
            "none": None,
            "no image": api.ImageFilter(),
            "an empty name": api.ImageFilter(image=api.ImageSpec()),
        }.items()
    },
)
async def _(kit: Kit, wanted: api.ImageFilter | None) -> None:
    image = (await _one(kit))[1]
    contains([entry.id for entry in await kit.images.list_images(wanted)], image.id, "ids")


@table(
    "images",
    {
        "removed by its tag": (lambda reference, image: reference,),
        "removed by its digest": (lambda reference, image: image.repo_digests[0],),
        "removed by its id": (lambda reference, image: image.id,),
    },
)
async def _(kit: Kit, named: Any) -> None:
    reference, image = await _one(kit)
    await kit.images.remove_image(named(reference, image))
    holds(not (await kit.images.image_status(image.id)).HasField("image"), "no image of that id", image.id)
    lacks([entry.id for entry in await kit.images.list_images()], image.id, "ids in the list")


@case("images", "removed by one of its tags it is gone by all")
async def _(kit: Kit) -> None:
    images = kit.session.images
    made = images.runnable(config={"Labels": {"all": kit.session.id}})
    names = [images.publish(f"validate/all-{next(kit.session.numbers)}", tag, made) for tag in ("a", "b")]
    for name in names:
        await kit.pull(name)
    await kit.images.remove_image(names[0])
    holds(not (await kit.images.image_status(names[1])).HasField("image"), "no image by the other tag", names[1])


@case("images", "removing what is not here succeeds")
async def _(kit: Kit) -> None:
    await kit.images.remove_image(f"{kit.session.registry.address}/validate/never-seen:1")


@case("images", "an image can be pulled again after it was removed")
async def _(kit: Kit) -> None:
    reference, image = await _one(kit)
    await kit.images.remove_image(reference)
    equal(await kit.pull(reference), image.id, "id")


@case("images", "the container of a removed image goes on, and keeps its files")
async def _(kit: Kit) -> None:
    images = kit.session.images
    made = images.runnable(config={"Labels": {"goes-on": kit.session.id}})
    reference = images.publish(f"validate/goes-on-{next(kit.session.numbers)}", "1", made)
    await kit.pull(reference)
    container_id = await kit.idle(image=reference)
    await kit.images.remove_image(reference)
    equal(await kit.exec(container_id, "head", "-n", "1", "/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n", "a file")


@case("images", "an empty name is refused")
async def _(kit: Kit) -> None:
    if not kit.strict:
        skip("the protocol does not say what an empty name leads to; a strict run asks")
    await kit.refused(kit.images.image_status(""), InvalidArgument)


@case("images", "the file system of images is told, with what is used of it")
async def _(kit: Kit) -> None:
    await kit.image("busybox")
    usages = (await kit.images.image_fs_info()).image_filesystems
    holds(len(usages) >= 1, "at least one file system", usages)
    for usage in usages:
        holds(usage.timestamp > 0, "timestamp above 0", usage)
        matches(usage.fs_id.mountpoint, "/.*", "mountpoint")
    holds(sum(usage.used_bytes.value for usage in usages) > 0, "used_bytes above 0", usages)
    holds(sum(usage.inodes_used.value for usage in usages) > 0, "inodes_used above 0", usages)


@case("images", "all images come over a stream as well", needs="the call StreamImages")
async def _(kit: Kit) -> None:
    image = (await _one(kit))[1]
    parts = [part async for part in kit.images.stream("StreamImages", api.StreamImagesRequest())]
    contains([entry.id for part in parts for entry in part.images], image.id, "ids")


@case("images", "the stream takes the list's filter", needs="the call StreamImages")
async def _(kit: Kit) -> None:
    reference, image = await _one(kit)
    request = api.StreamImagesRequest(filter=api.ImageFilter(image=api.ImageSpec(image=reference)))
    parts = [part async for part in kit.images.stream("StreamImages", request)]
    equal([entry.id for part in parts for entry in part.images], [image.id], "ids")
