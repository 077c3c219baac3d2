"""What makes a request wrong before anything is touched."""

from __future__ import annotations

import pytest

from podyard.errors import InvalidArgument
from podyard.lifecycle.requests import check_cgroup_parent


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "kubepods.slice",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_ab.slice",
        "/machine.slice/",
    ],
)
def test_a_slice_is_a_parent_under_systemd(parent: str) -> None:
    check_cgroup_parent(parent, systemd=True)


@pytest.mark.parametrize(
    "parent",
    [
        "/",
        "/kubepods/pod1",
        "/a.slice/b.scope",
        ".slice",
        "a--b.slice",
        "-a.slice",
        "a b.slice",
        "a:b:c",
        "a.slice/../b",
    ],
)
def test_what_is_no_slice_is_no_parent_under_systemd(parent: str) -> None:
    with pytest.raises(InvalidArgument, match="cgroup_parent"):
        check_cgroup_parent(parent, systemd=True)


@pytest.mark.parametrize("parent", ["", "/kubepods/burstable/pod1", "podyard", "/user.slice/mine"])
def test_any_path_is_a_parent_where_podyard_makes_the_cgroups(parent: str) -> None:
    check_cgroup_parent(parent, systemd=False)


@pytest.mark.parametrize("parent", ["/../system.slice", "a/../../b", "/a\n/b", "/a\0", "/" + "a" * 5000])
def test_a_path_that_leaves_the_hierarchy_is_refused(parent: str) -> None:
    with pytest.raises(InvalidArgument, match="cgroup_parent"):
        check_cgroup_parent(parent, systemd=False)
