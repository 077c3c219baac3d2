"""Who a container runs as: users, groups, and the image's own."""

from __future__ import annotations

from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import security, value

STRICT = api.SupplementalGroupsPolicy.Strict
MERGE = api.SupplementalGroupsPolicy.Merge

IDENTITIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing asked for: root": ("busybox", {}, "0 0 0"),
    "a number": ("busybox", {"run_as_user": value(1234)}, "1234 0 0"),
    "the number of a user of the image: with that user's group": (
        "busybox",
        {"run_as_user": value(65534)},
        "65534 65534 65534",
    ),
    "a number and a group": ("busybox", {"run_as_user": value(1234), "run_as_group": value(77)}, "1234 77 77"),
    "number 0 is not the same as none": ("user-number", {"run_as_user": value(0)}, "0 0 0"),
    "a name": ("busybox", {"run_as_username": "nobody"}, "65534 65534 65534"),
    "a name with groups of the image": ("busybox", {"run_as_username": "member"}, "1000 1000 1000 50000"),
    "the number of a user with groups of the image": ("busybox", {"run_as_user": value(1000)}, "1000 1000 1000 50000"),
    "a name and a group": ("busybox", {"run_as_username": "nobody", "run_as_group": value(77)}, "65534 77 77"),
    "further groups": (
        "busybox",
        {"run_as_user": value(1234), "run_as_group": value(77), "supplemental_groups": [8, 9]},
        "1234 77 8 9 77",
    ),
    "further groups beside those of the image": (
        "busybox",
        {"run_as_username": "member", "supplemental_groups": [7]},
        "1000 1000 7 1000 50000",
    ),
    "root with further groups": ("busybox", {"supplemental_groups": [1234]}, "0 0 0 1234"),
    "the image's number": ("user-number", {}, "1002 0 0"),
    "the image's name": ("user-name", {}, "65534 65534 65534"),
    "the image's number and group": ("user-and-group", {}, "1003 1004 1004"),
    "the image's name with groups of the image": ("user-with-groups", {}, "1000 1000 1000 50000"),
    "the request's number wins over the image's": ("user-number", {"run_as_user": value(55)}, "55 0 0"),
    "the request's name wins over the image's": ("user-number", {"run_as_username": "nobody"}, "65534 65534 65534"),
}


async def _identity(kit: Kit, image: str, fields: dict[str, Any]) -> tuple[str, str, list[int]]:
    """uid, gid and sorted groups of a process with these fields."""
    output = await kit.shell("id -u; id -g; id -G", image=await kit.image(image), linux=security(**fields))
    uid, gid, groups = output.splitlines()
    return uid, gid, sorted(int(group) for group in groups.split())


@table("users", IDENTITIES)
async def _(kit: Kit, image: str, fields: dict[str, Any], expected: str) -> None:
    uid, gid, *groups = expected.split()
    wanted = (uid, gid, sorted(int(group) for group in groups))
    equal(await _identity(kit, image, fields), wanted, "uid, gid and groups")


POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "Merge keeps the groups of the image": (
        {"run_as_user": value(1000), "supplemental_groups": [7], "supplemental_groups_policy": MERGE},
        "1000 1000 7 1000 50000",
    ),
    "Strict leaves the groups of the image out": (
        {"run_as_user": value(1000), "supplemental_groups": [7], "supplemental_groups_policy": STRICT},
        "1000 1000 7 1000",
    ),
    "Strict without further groups leaves the main one": (
        {"run_as_user": value(1000), "run_as_group": value(77), "supplemental_groups_policy": STRICT},
        "1000 77 77",
    ),
}


@table("users", POLICIES)
async def _(kit: Kit, fields: dict[str, Any], expected: str) -> None:
    if not kit.session.status.features.supplemental_groups_policy:
        skip("the endpoint does not have supplemental_groups_policy")
    uid, gid, *groups = expected.split()
    wanted = (uid, gid, sorted(int(group) for group in groups))
    equal(await _identity(kit, "busybox", fields), wanted, "uid, gid and groups")


@table(
    "users",
    {
        "HOME is the user's of the image": ({"run_as_username": "member"}, "/member-home"),
        "HOME is root's": ({}, "/root"),
        "HOME of a number without a name is the root directory": ({"run_as_user": value(1234)}, "/"),
    },
)
async def _(kit: Kit, fields: dict[str, Any], home: str) -> None:
    equal(await kit.shell('printf %s "$HOME"', linux=security(**fields)), home, "HOME")


@case("users", "a file belongs to the user who makes it")
async def _(kit: Kit) -> None:
    data = kit.folder / "data"
    data.mkdir()
    data.chmod(0o777)
    linux = security(run_as_user=value(1234), run_as_group=value(77))
    mount = api.Mount(container_path="/data", host_path=str(data))
    await kit.shell("touch /data/file", linux=linux, mounts=[mount])
    stat = (data / "file").stat()
    equal((stat.st_uid, stat.st_gid), (1234, 77), "owner and group on the host")


WRONG_USERS: dict[str, tuple[dict[str, Any], str]] = {
    "a group without a user is refused": ({"run_as_group": value(5)}, "group"),
    "a name that the image does not have is refused by it": ({"run_as_username": "nosuchuser"}, "nosuchuser"),
    "a negative number is refused": ({"run_as_user": value(-1)}, ""),
}


@table("users", WRONG_USERS)
async def _(kit: Kit, fields: dict[str, Any], says: str) -> None:
    await kit.refused(kit.start(["true"], linux=security(**fields)), InvalidArgument, says=says)


@case("users", "a sandbox with a group and no user is refused")
async def _(kit: Kit) -> None:
    linux = api.LinuxPodSandboxConfig(
        security_context=api.LinuxSandboxSecurityContext(
            run_as_group=value(5), namespace_options=api.NamespaceOption(pid=api.POD)
        )
    )
    await kit.refused(kit.sandbox(linux=linux), InvalidArgument, says="group")


@case("users", "a terminal belongs to the user")
async def _(kit: Kit) -> None:
    output = await kit.shell("stat -c %u $(tty); echo x > $(tty)", linux=security(run_as_user=value(1234)), tty=True)
    contains(output, "1234", "owner of the terminal")
