"""The mounts of a container, and whether the host lets them propagate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError
from podyard.linux.userns import IdMap, Range
from podyard.oci import mounts, propagation
from podyard.oci.host import HostFacts

Facts = Callable[..., HostFacts]


def made(host: HostFacts, *requested: api.Mount, **changes: Any) -> dict[str, dict[str, Any]]:
    values: dict[str, Any] = {"files": {}, "shm": Path("/pod/shm"), "readonly_rootfs": False, "privileged": False}
    mounts.check(requested, changes.get("own"), host)
    found = mounts.container_mounts(requested, **(values | changes))
    return {mount["destination"]: mount for mount in found}


def bind(path: str, **fields: Any) -> api.Mount:
    return api.Mount(container_path=path, host_path="/host", **fields)


MAPPING = api.IDMapping(host_id=100_000, container_id=0, length=65536)
RANGE = Range(inside=0, outside=100_000, length=65536)
MAP = IdMap((RANGE,), (RANGE,))


def volume(image: str, **fields: Any) -> api.Mount:
    return api.Mount(container_path="/a", image=api.ImageSpec(image=image), **{"readonly": True, **fields})


def test_what_every_container_has(facts: Facts) -> None:
    found = made(facts())
    assert list(found) == ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/dev/shm"]
    assert "ro" in found["/sys"]["options"] and "ro" in found["/sys/fs/cgroup"]["options"]
    assert found["/dev/shm"]["source"] == "/pod/shm"
    assert made(facts(), shm=None)["/dev/shm"]["source"] == "/dev/shm"


def test_the_privileged_may_write_to_sys(facts: Facts) -> None:
    found = made(facts(), privileged=True)
    assert "rw" in found["/sys"]["options"] and "rw" in found["/sys/fs/cgroup"]["options"]


def test_a_user_namespace_needs_the_hosts_sys_with_the_hosts_network(facts: Facts) -> None:
    own = made(facts(), own=MAP)
    assert own["/sys"]["type"] == "sysfs" and "gid=5" in own["/dev/pts"]["options"]
    shared = made(facts(), own=MAP, host_network=True)["/sys"]
    assert (shared["type"], shared["source"]) == ("bind", "/sys")
    assert {"rbind", "ro"} <= set(shared["options"])


def test_a_terminal_has_no_group_that_the_user_namespace_lacks(facts: Facts) -> None:
    small = IdMap((RANGE,), (Range(0, 100_000, 5),))
    assert not [option for option in made(facts(), own=small)["/dev/pts"]["options"] if option.startswith("gid=")]


def test_the_mappings_of_an_image_may_be_its_pods(facts: Facts) -> None:
    mounts.check([volume("x", uidMappings=[MAPPING], gidMappings=[MAPPING])], MAP, facts())


def test_the_request_replaces_what_stands_at_its_path(facts: Facts) -> None:
    files = {"/etc/hosts": Path("/pod/hosts"), "/etc/hostname": Path("/pod/hostname")}
    found = made(facts(), bind("/etc/hosts"), bind("/sys"), bind("/dev/shm"), files=files)
    assert found["/etc/hosts"]["source"] == found["/sys"]["source"] == found["/dev/shm"]["source"] == "/host"
    assert found["/etc/hostname"]["source"] == "/pod/hostname"


def test_a_dev_of_its_own_takes_the_place_of_all_below(facts: Facts) -> None:
    assert not {"/dev/pts", "/dev/mqueue"} & set(made(facts(), bind("/dev")))


def test_no_mount_hides_another(facts: Facts) -> None:
    paths = list(made(facts(), bind("/a/b/c"), bind("/z"), bind("/a"), bind("/a/b/")))
    assert [path for path in paths if path.startswith(("/a", "/z"))] == ["/z", "/a", "/a/b", "/a/b/c"]


def test_the_pods_files_are_as_writable_as_the_root(facts: Facts) -> None:
    files = {"/etc/hosts": Path("/pod/hosts")}
    assert "rw" in made(facts(), files=files)["/etc/hosts"]["options"]
    assert "ro" in made(facts(), files=files, readonly_rootfs=True)["/etc/hosts"]["options"]


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        (bind("/a"), ["rbind", "rprivate", "rw"]),
        (bind("/a", readonly=True), ["rbind", "rprivate", "ro"]),
        (bind("/a", propagation=api.PROPAGATION_HOST_TO_CONTAINER), ["rbind", "rslave", "rw"]),
        (bind("/a", propagation=api.PROPAGATION_BIDIRECTIONAL), ["rbind", "rshared", "rw"]),
        (bind("/a", mount_options=["noexec", "nosuid"]), ["rbind", "rprivate", "rw", "noexec", "nosuid"]),
    ],
)
def test_the_options_of_a_mount(facts: Facts, mount: api.Mount, options: list[str]) -> None:
    assert made(facts(), mount)["/a"]["options"] == options


@pytest.mark.parametrize(
    ("mount", "error", "text"),
    [
        (bind("relative"), InvalidArgument, "container_path 'relative'"),
        (bind("/a/../.."), InvalidArgument, "root cannot be a mount"),
        (api.Mount(container_path="/a", host_path="b"), InvalidArgument, "host_path"),
        (bind("/a", mount_options=["suid", "nosuid"]), InvalidArgument, "both"),
        (bind("/a", mount_options=["remount"]), InvalidArgument, "'remount'"),
        (bind("/a", propagation=7), InvalidArgument, "no propagation 7"),
        (bind("/a", recursive_read_only=True), InvalidArgument, "needs readonly"),
        (bind("/a", recursive_read_only=True, readonly=True), FailedPrecondition, "recursive_read_only needs Linux"),
        (bind("/a", image=api.ImageSpec(image="x")), InvalidArgument, "both image and host_path"),
        (volume("x", readonly=False), InvalidArgument, "must be readonly"),
        (volume("x", propagation=api.PROPAGATION_BIDIRECTIONAL), InvalidArgument, "no propagation but"),
        (volume("x", image_sub_path="/etc"), InvalidArgument, "relative to the image"),
        (volume("x", uidMappings=[MAPPING], gidMappings=[MAPPING]), InvalidArgument, "those of its pod"),
        (bind("/a", image_sub_path="x"), InvalidArgument, "image_sub_path"),
        (bind("/a", uidMappings=[api.IDMapping()], gidMappings=[MAPPING]), InvalidArgument, "uidMappings.*length 0"),
        (bind("/a", uidMappings=[MAPPING]), InvalidArgument, "gidMappings is empty"),
    ],
)
def test_a_mount_that_cannot_be_is_refused(
    facts: Facts, mount: api.Mount, error: type[PodyardError], text: str
) -> None:
    with pytest.raises(error, match=text):
        made(facts(), mount)


def test_the_root_propagates_as_far_as_its_widest_mount() -> None:
    shared, slave = (
        bind("/a", propagation=api.PROPAGATION_BIDIRECTIONAL),
        bind("/b", propagation=api.PROPAGATION_HOST_TO_CONTAINER),
    )
    assert mounts.rootfs_propagation([slave, bind("/c"), shared]) == "rshared"
    assert mounts.rootfs_propagation([slave, bind("/c")]) == "rslave"
    assert mounts.rootfs_propagation([bind("/c")]) == ""


MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:1 / /s rw shared:5 - tmpfs tmpfs rw
24 23 0:2 / /s/slave rw master:5 - tmpfs tmpfs rw
25 23 0:3 / /s/private rw - tmpfs tmpfs rw
26 22 0:4 / /with\040space rw shared:7 master:5 propagate_from:2 - tmpfs tmpfs rw
27 22 0:5 / /over rw - tmpfs tmpfs rw
28 22 0:6 / /over rw shared:9 - tmpfs tmpfs rw
"""
BOTH, DOWN, NO = api.PROPAGATION_BIDIRECTIONAL, api.PROPAGATION_HOST_TO_CONTAINER, api.PROPAGATION_PRIVATE


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/s", BOTH),
        ("/s/deep/below", BOTH),
        ("/s/slave/x", DOWN),
        ("/with space/x", BOTH),
        ("/over", BOTH),
        ("/s/private", NO),
        ("/", NO),
    ],
)
def test_a_mount_that_can_propagate(path: str, kind: api.MountPropagation.ValueType) -> None:
    propagation.check_propagation([api.Mount(container_path="/c", host_path=path, propagation=kind)], MOUNTINFO)


@pytest.mark.parametrize(
    ("path", "kind", "point"),
    [
        ("/home", BOTH, "/"),
        ("/home", DOWN, "/"),
        ("/s/slave/x", BOTH, "/s/slave"),
        ("/s/private/x", DOWN, "/s/private"),
        ("/sibling", BOTH, "/"),
    ],
)
def test_a_mount_that_cannot_propagate_is_named(path: str, kind: api.MountPropagation.ValueType, point: str) -> None:
    request = [api.Mount(container_path="/c", host_path=path, propagation=kind)]
    with pytest.raises(FailedPrecondition, match=f"lies on {point}, which is n.*make-rshared {point}`"):
        propagation.check_propagation(request, MOUNTINFO)
