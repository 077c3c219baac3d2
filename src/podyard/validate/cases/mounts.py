"""Mounts of the request: host paths, read-only ones, images, and what is refused."""

from __future__ import annotations

from pathlib import Path

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError, Unimplemented
from podyard.validate.case import case, table
from podyard.validate.cases.propagation import mounted
from podyard.validate.expect import contains, equal, holds, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import bind, security


def _data(kit: Kit) -> Path:
    """A directory of the host with a file in it."""
    folder = kit.folder / "data"
    folder.mkdir()
    (folder / "file").write_text("of the host\n")
    return folder


@case("mounts", "a directory of the host can be read and written")
async def _(kit: Kit) -> None:
    data = _data(kit)
    output = await kit.shell("cat /data/file; echo back > /data/new", mounts=[bind("/data", data)])
    equal(output, "of the host\n", "the file")
    equal((data / "new").read_text(), "back\n", "what the container wrote")


@case("mounts", "a read-only one cannot be written")
async def _(kit: Kit) -> None:
    data = _data(kit)
    output = await kit.shell("touch /data/new 2>&1 || cat /data/file", mounts=[bind("/data", data, readonly=True)])
    contains(output, "Read-only file system", "the error inside")
    equal(sorted(path.name for path in data.iterdir()), ["file"], "files on the host")


@case("mounts", "a single file")
async def _(kit: Kit) -> None:
    mounts = [bind("/etc/config/one", _data(kit) / "file", readonly=True)]
    equal(await kit.shell("cat /etc/config/one", mounts=mounts), "of the host\n", "the file")


@case("mounts", "a file over a file of the image")
async def _(kit: Kit) -> None:
    mounts = [bind("/etc/passwd", _data(kit) / "file")]
    equal(await kit.shell("cat /etc/passwd", mounts=mounts), "of the host\n", "the file")


@case("mounts", "a directory over a directory of the image hides what was there")
async def _(kit: Kit) -> None:
    mounts = [bind("/data", _data(kit))]
    equal(await kit.shell("ls /data", image=await kit.image("content"), mounts=mounts), "file\n", "files")
    output = await kit.shell("cat /data/file", image=await kit.image("content"), mounts=mounts)
    equal(output, "of the host\n", "the file that both have")


@case("mounts", "a link of the host is followed")
async def _(kit: Kit) -> None:
    (kit.folder / "link").symlink_to(_data(kit))
    output = await kit.shell("cat /data/file", mounts=[bind("/data", kit.folder / "link")])
    equal(output, "of the host\n", "the file")


@case("mounts", "a path that does not exist on the host is made as a directory")
async def _(kit: Kit) -> None:
    missing = kit.folder / "not" / "there"
    await kit.shell("touch /data/new", mounts=[bind("/data", missing)])
    equal([path.name for path in missing.iterdir()], ["new"], "files in it")


@case("mounts", "one lies inside another, whatever their order in the request")
async def _(kit: Kit) -> None:
    outer, inner = _data(kit), kit.folder / "inner"
    inner.mkdir()
    (inner / "deep").write_text("deep\n")
    mounts = [bind("/data/below", inner), bind("/data", outer)]
    equal(await kit.shell("cat /data/file /data/below/deep", mounts=mounts), "of the host\ndeep\n", "the files")


@case("mounts", "a place that the image does not have is made")
async def _(kit: Kit) -> None:
    output = await kit.shell("cat /a/b/c/file", mounts=[bind("/a/b/c", _data(kit))])
    equal(output, "of the host\n", "the file")


@case("mounts", "a link of the image does not lead a mount out of the container")
async def _(kit: Kit) -> None:
    output = await kit.shell(
        "cat /etc/inside/file; test -e /data/out/inside/file && echo followed",
        image=await kit.image("content"),
        mounts=[bind("/data/out/inside", _data(kit))],
    )
    equal(output, "of the host\nfollowed\n", "the file inside")
    holds(not Path("/etc/inside").exists(), "no /etc/inside on the host", "one")


@case("mounts", "two containers share a directory of the host")
async def _(kit: Kit) -> None:
    mounts = [bind("/data", _data(kit))]
    await kit.shell("echo one > /data/shared", mounts=mounts)
    equal(await kit.shell("cat /data/shared", mounts=mounts), "one\n", "what the first wrote")


@case("mounts", "what is mounted below a directory of the host comes along")
async def _(kit: Kit) -> None:
    data = _data(kit)
    (data / "below").mkdir()
    async with mounted(data / "below"):
        (data / "below" / "file").write_text("on the tmpfs\n")
        output = await kit.shell("cat /data/below/file", mounts=[bind("/data", data)])
        await kit.close()
    equal(output, "on the tmpfs\n", "the file of the mount below")


@case("mounts", "read-only at all depths, where the handler can")
async def _(kit: Kit) -> None:
    if not kit.handler_features().recursive_read_only_mounts:
        skip("the runtime handler does not have recursive read-only mounts")
    data = _data(kit)
    (data / "below").mkdir()
    async with mounted(data / "below"):
        mount = bind("/data", data, readonly=True, recursive_read_only=True)
        output = await kit.shell("touch /data/x 2>&1 || true; touch /data/below/x 2>&1 || true", mounts=[mount])
        await kit.close()
    equal(output.count("Read-only file system"), 2, f"refusals inside ({output})")


RECURSIVE = {
    "recursive read-only without read-only is refused": {},
    "recursive read-only with propagation is refused": {
        "readonly": True,
        "propagation": api.PROPAGATION_HOST_TO_CONTAINER,
    },
}


@table("mounts", {name: (fields,) for name, fields in RECURSIVE.items()})
async def _(kit: Kit, fields: dict[str, object]) -> None:
    if not kit.handler_features().recursive_read_only_mounts:
        skip("the runtime handler does not have recursive read-only mounts")
    mount = bind("/data", _data(kit), recursive_read_only=True, **fields)
    await kit.refused(kit.create(["true"], mounts=[mount]), InvalidArgument)


OPTIONS = {
    "noexec": ("cp /bin/busybox /data/echo; /data/echo x 2>&1 || true", "Permission denied"),
    "nodev": ("mknod /data/null c 1 3; cat /data/null 2>&1 || true", "Permission denied"),
    "nosuid": ("awk '$2 == \"/data\" {print $4}' /proc/self/mounts", "nosuid"),
}


@table("mounts", {f"the option {option} is followed": (option, *row) for option, row in OPTIONS.items()})
async def _(kit: Kit, option: str, script: str, expected: str) -> None:
    if not kit.session.status.features.mount_options:
        skip("the endpoint does not have mount_options")
    mount = bind("/data", _data(kit), mount_options=[option])
    contains(await kit.shell(script, mounts=[mount]), expected, "output")


@case("mounts", "an option that does not exist is refused by its name")
async def _(kit: Kit) -> None:
    if not kit.session.status.features.mount_options:
        skip("the endpoint does not have mount_options")
    mount = bind("/data", _data(kit), mount_options=["no-such-option"])
    await kit.refused(kit.create(["true"], mounts=[mount]), InvalidArgument, says="no-such-option")


@case("mounts", "with a read-only root mounts can be written")
async def _(kit: Kit) -> None:
    output = await kit.shell(
        "touch /data/new && touch /file 2>&1 || true",
        linux=security(readonly_rootfs=True),
        mounts=[bind("/data", _data(kit))],
    )
    contains(output, "Read-only file system", "the error of touch /file")


IMAGE_MOUNTS = {
    "an image's content appears": ({}, "cat /content/data/file", "of the image\n"),
    "an image's mount cannot be written": (
        {},
        "touch /content/new 2>/dev/null && echo written || echo read-only",
        "read-only\n",
    ),
    "a directory of an image appears alone": ({"image_sub_path": "data/deep"}, "ls /content", "file\n"),
}


@table("image mounts", IMAGE_MOUNTS, needs="image mounts")
async def _(kit: Kit, fields: dict[str, str], script: str, expected: str) -> None:
    spec = api.ImageSpec(image=await kit.image("content"))
    mount = api.Mount(container_path="/content", image=spec, readonly=True, **fields)  # type: ignore[arg-type]
    equal(await kit.shell(script, mounts=[mount]), expected, "output")


@case("image mounts", "a sub_path that the image does not have is refused", needs="image mounts")
async def _(kit: Kit) -> None:
    spec = api.ImageSpec(image=await kit.image("content"))
    mount = api.Mount(container_path="/content", image=spec, image_sub_path="data/none", readonly=True)
    await kit.refused(kit.start(["true"], mounts=[mount]), PodyardError)


OUTWARD = {
    "a sub_path with .. does not leave the image": "data/../../../../etc",
    "a sub_path over a link to /etc does not leave the image": "data/out",
}


@table("image mounts", {name: (path,) for name, path in OUTWARD.items()}, needs="image mounts")
async def _(kit: Kit, path: str) -> None:
    spec = api.ImageSpec(image=await kit.image("content"))
    mount = api.Mount(container_path="/content", image=spec, image_sub_path=path, readonly=True)
    try:
        output = await kit.shell("ls /content", mounts=[mount])
    except Unimplemented:
        raise
    except PodyardError:
        return
    equal(output, "group\npasswd\n", "an error, or the files of the image's own /etc")


@case("image mounts", "an image that is not here is refused by its name", needs="image mounts")
async def _(kit: Kit) -> None:
    spec = api.ImageSpec(image="localhost:1/never-seen:1")
    mount = api.Mount(container_path="/content", image=spec, readonly=True)
    await kit.refused(kit.create(["true"], mounts=[mount]), PodyardError, says="never-seen")


@case("image mounts", "an image that is mounted can be removed, and its content stays", needs="image mounts")
async def _(kit: Kit) -> None:
    reference = kit.session.images.unique()
    await kit.pull(reference)
    mount = api.Mount(container_path="/content", image=api.ImageSpec(image=reference), readonly=True)
    container_id = await kit.idle(mounts=[mount])
    await kit.images.remove_image(reference)
    contains(await kit.exec(container_id, "ls", "/content"), "number", "files")


WRONG_MOUNTS = {
    "a relative container path is refused": ({"container_path": "data"}, "data"),
    "an empty container path is refused": ({"container_path": ""}, ""),
    "a relative host path is refused": ({"container_path": "/data", "host_path": "etc"}, "etc"),
}


@table("mounts", WRONG_MOUNTS)
async def _(kit: Kit, fields: dict[str, str], says: str) -> None:
    if not kit.strict:
        skip("the protocol wants absolute paths and does not say what becomes of others; a strict run asks")
    mount = api.Mount(**{"host_path": str(_data(kit)), **fields})  # type: ignore[arg-type]
    await kit.refused(kit.create(["true"], mounts=[mount]), InvalidArgument, says=says)


@case("mounts", "a relabel for SELinux where the host has none is accepted or refused by its name")
async def _(kit: Kit) -> None:
    if Path("/sys/fs/selinux/enforce").exists():
        skip("this host has SELinux")
    mount = bind("/data", _data(kit), selinux_relabel=True)
    try:
        await kit.create(["true"], mounts=[mount])
    except PodyardError as error:
        contains(str(error).lower(), "selinux", "the error")
