"""Limits as files of a cgroup."""

from __future__ import annotations

import pytest

from podyard.oci import limits

POD = {
    "cpu": {"shares": 1024, "quota": 50_000},
    "memory": {"limit": 4096, "swap": 8192},
    "unified": {"memory.high": "5"},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 7}],
}


def test_files_of_cgroup_v1_have_the_period_before_the_quota() -> None:
    files = limits.pod_files({**POD, "cpu": {"shares": 2, "quota": -1, "period": 1000}}, v2=False)
    assert list(files.items()) == [
        ("cpu.shares", "2"),
        ("cpu.cfs_period_us", "1000"),
        ("cpu.cfs_quota_us", "-1"),
        ("memory.limit_in_bytes", "4096"),
        ("hugetlb.2MB.limit_in_bytes", "7"),
    ]


def test_files_of_cgroup_v2() -> None:
    assert limits.pod_files(POD, v2=True) == {
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "memory.max": "4096",
        "memory.high": "5",
        "hugetlb.2MB.max": "7",
    }
    assert limits.pod_files({"cpu": {"quota": -1}, "memory": {"limit": -1}}, v2=True) == {
        "cpu.max": "max 100000",
        "memory.max": "max",
    }


def test_nothing_wanted_is_no_file() -> None:
    assert limits.pod_files({}, v2=True) == limits.pod_files({}, v2=False) == {}


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (1024, 39), (262_144, 10_000), (1 << 40, 10_000)])
def test_shares_as_weight(shares: int, weight: int) -> None:
    assert limits.weight(shares) == weight


def test_taking_back_sets_what_was_not_set_to_the_kernels_own_values() -> None:
    before = {"cpu": {"shares": 5, "cpus": "0"}, "unified": {"a.b": "c"}}
    tried = {"cpu": {"shares": 9, "quota": 3, "mems": "0"}, "memory": {"limit": 1, "swap": 1}}
    assert limits.restoring(before, tried) == {
        "cpu": {"shares": 5, "cpus": "0", "quota": -1},
        "memory": {"limit": -1, "swap": -1},
        "unified": {"a.b": "c"},
    }
