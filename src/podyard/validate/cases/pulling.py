"""PullImage: kinds of images, credentials, what is already here, and what must fail."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import equal, holds, lacks
from podyard.validate.kit import Kit, until
from podyard.validate.registry import PASSWORD, TOKEN, USER


@table(
    "pull",
    {
        "a layer in gzip": ("gzip",),
        "a layer in zstd": ("zstd",),
        "a layer without compression": ("uncompressed",),
        "docker's media types": ("docker",),
        "an index: the image of this platform": ("index",),
    },
)
async def _(kit: Kit, name: str) -> None:
    equal(await kit.shell("cat /kind", image=await kit.image(name)), f"{name}\n", "a file of the image")


@case("pull", "the answer is what ImageStatus calls the image")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    image_id = await kit.pull(reference)
    equal((await kit.images.image_status(image_id)).image.id, image_id, "id")


@case("pull", "by digest: without a tag")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    await kit.pull(reference)
    digest = (await kit.images.image_status(reference)).image.repo_digests[0]
    await kit.images.remove_image(reference)
    await kit.pull(digest)
    image = (await kit.images.image_status(digest)).image
    equal((list(image.repo_tags), list(image.repo_digests)), ([], [digest]), "repo_tags and repo_digests")


@case("pull", "by tag and digest together")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    await kit.pull(reference)
    image = (await kit.images.image_status(reference)).image
    await kit.images.remove_image(reference)
    both = f"{reference}@{image.repo_digests[0].partition('@')[2]}"
    equal(await kit.pull(both), image.id, "id")


def _layer(kit: Kit, reference: str) -> str:
    """The digest of the only layer of an image in the suite's registry."""
    repository, _, tag = reference.partition("/")[2].rpartition(":")
    manifest = kit.session.registry.find(repository, "manifests", tag)
    assert manifest is not None
    [layer] = json.loads(manifest.path.read_bytes())["layers"]
    return str(layer["digest"])


def _fetched(kit: Kit, layer: str) -> int:
    """How often a layer was asked for."""
    asked = (line.partition("?")[0] for line in kit.session.registry.requests)
    return sum(line.startswith("GET ") and line.endswith(f"/blobs/{layer}") for line in asked)


@case("pull", "again: the same id, and no layer is fetched")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    first = await kit.pull(reference)
    layer = _layer(kit, reference)
    before = _fetched(kit, layer)
    equal(await kit.pull(reference), first, "id")
    equal(_fetched(kit, layer), before, "how often the layer was fetched")


@case("pull", "ten at once of one image")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    ids = await asyncio.gather(*(kit.pull(reference) for _ in range(10)))
    equal(len(set(ids)), 1, "different ids")


@case("pull", "a tag that has moved leaves the old image without it")
async def _(kit: Kit) -> None:
    images = kit.session.images
    repository = f"validate/moves-{next(kit.session.numbers)}"
    reference = await asyncio.to_thread(images.unique, repository)
    old = await kit.pull(reference)
    equal(await asyncio.to_thread(images.unique, repository), reference, "reference")
    new = await kit.pull(reference)
    holds(new != old, "another id", new)
    equal((await kit.images.image_status(reference)).image.id, new, "what the tag names")
    left = (await kit.images.image_status(old)).image
    lacks(left.repo_tags, reference, "repo_tags of the old image")
    await kit.images.remove_image(old)


@case("pull", "for a sandbox")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    config = kit.session.configs[await kit.shared()]
    await kit.pull(reference, sandbox_config=config)
    holds((await kit.images.image_status(reference)).HasField("image"), "the image", "none")


@case("pull", "for a runtime handler, with annotations")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    spec = api.ImageSpec(
        image=reference,
        annotations={"note": "n"},
        user_specified_image=reference,
        runtime_handler=kit.session.target.handler,
    )
    await kit.pull(spec)
    holds((await kit.images.image_status(spec)).HasField("image"), "the image", "none")


AUTHS: dict[str, tuple[str, dict[str, Any]]] = {
    "user and password": ("private", {"username": USER, "password": PASSWORD}),
    "both in one, in base64": ("private", {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}),
    "a token for the registry": ("token", {"registry_token": TOKEN}),
}


@table("pull", {f"with {name}": row for name, row in AUTHS.items()})
async def _(kit: Kit, folder: str, fields: dict[str, str]) -> None:
    repository = f"{folder}/image-{next(kit.session.numbers)}"
    reference = await asyncio.to_thread(kit.session.images.unique, repository)
    await kit.pull(reference, auth=api.AuthConfig(**fields))
    holds((await kit.images.image_status(reference)).HasField("image"), "the image", "none")


@case("pull", "with credentials that name their server")
async def _(kit: Kit) -> None:
    repository = f"private/image-{next(kit.session.numbers)}"
    reference = await asyncio.to_thread(kit.session.images.unique, repository)
    server = f"http://{kit.session.registry.address}"
    await kit.pull(reference, auth=api.AuthConfig(username=USER, password=PASSWORD, server_address=server))


WRONG: dict[str, tuple[dict[str, str] | None, str]] = {
    "without credentials where some are needed": (None, ""),
    "with a wrong password": ({"username": USER, "password": "wrong"}, ""),
    "with credentials that are no base64": ({"auth": "%%%"}, ""),
}


@table("pull", {f"{name}: refused": row for name, row in WRONG.items()})
async def _(kit: Kit, fields: dict[str, str] | None, says: str) -> None:
    repository = f"private/image-{next(kit.session.numbers)}"
    reference = await asyncio.to_thread(kit.session.images.unique, repository)
    auth = None if fields is None else api.AuthConfig(**fields)
    await kit.refused(kit.images.pull_image(reference, auth), PodyardError, says=says)
    holds(not (await kit.images.image_status(reference)).HasField("image"), "no image", reference)


@case("pull", "credentials do not stand in the error")
async def _(kit: Kit) -> None:
    repository = f"private/image-{next(kit.session.numbers)}"
    reference = await asyncio.to_thread(kit.session.images.unique, repository)
    auth = api.AuthConfig(username=USER, password="not-to-be-told")
    error = await kit.refused(kit.images.pull_image(reference, auth), PodyardError)
    lacks(str(error), "not-to-be-told", "the error")


MISSING = {
    "a repository that does not exist is named": "validate/no-such-image:1",
    "a tag that does not exist is named": "validate/busybox:no-such-tag",
    "a digest that does not exist is named": f"validate/busybox@sha256:{'0' * 64}",
}


@table("pull", {name: (path,) for name, path in MISSING.items()})
async def _(kit: Kit, path: str) -> None:
    await kit.image("busybox")
    reference = f"{kit.session.registry.address}/{path}"
    await kit.refused(kit.images.pull_image(reference), NotFound, says=path.partition("@")[0])


@table(
    "pull",
    {f"the name {name!r} is refused": (name,) for name in ("", "UPPER/Case:1", "host/name:::x", "a@sha256:short")},
)
async def _(kit: Kit, name: str) -> None:
    await kit.refused(kit.images.pull_image(name), InvalidArgument)


@case("pull", "a layer with another content than its digest is refused, and no image is left")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.corrupted)
    await kit.refused(kit.images.pull_image(reference), PodyardError)
    holds(not (await kit.images.image_status(reference)).HasField("image"), "no image", reference)


@case("pull", "a registry that nobody serves is named")
async def _(kit: Kit) -> None:
    await kit.refused(kit.images.pull_image("127.0.0.1:1/validate/image:1"), PodyardError, says="127.0.0.1:1")


@case("pull", "a pull whose client goes away can be repeated")
async def _(kit: Kit) -> None:
    reference = await asyncio.to_thread(kit.session.images.unique)
    layer = _layer(kit, reference)
    with kit.session.registry.holding(layer):
        task = asyncio.create_task(kit.pull(reference))
        asked = kit.session.registry.requests
        await until(lambda: task.done() or _fetched(kit, layer) > 0, "a request for the layer", lambda: str(asked[-5:]))
        holds(not task.done(), "a pull under way while its layer does not come", task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await kit.pull(reference)
    holds((await kit.images.image_status(reference)).HasField("image"), "the image", "none")
