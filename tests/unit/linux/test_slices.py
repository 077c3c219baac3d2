"""Names of systemd's slices as paths of cgroups."""

from __future__ import annotations

import pytest

from podyard.linux import cgroups


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("podyard.slice", "/podyard.slice"),
        ("kubepods-burstable.slice", "/kubepods.slice/kubepods-burstable.slice"),
        (
            "kubepods-burstable-pod12_ab.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_ab.slice",
        ),
    ],
)
def test_a_slice_is_in_the_one_that_its_name_begins_with(name: str, path: str) -> None:
    assert cgroups.of_slice(name) == path
