"""The limits of a container, and those that a host cannot keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError
from podyard.oci.host import HostFacts
from podyard.oci.resources import linux_resources

Facts = Callable[..., HostFacts]
MIB = 1 << 20
BARE: dict[str, Any] = {"controllers": frozenset()}
V1: dict[str, Any] = {"cgroup_v2": False}


def wanted(**fields: Any) -> api.LinuxContainerResources:
    return api.LinuxContainerResources(**fields)


def pages(size: str, limit: int) -> api.LinuxContainerResources:
    return wanted(hugepage_limits=[api.HugepageLimit(page_size=size, limit=limit)])


@pytest.mark.parametrize(
    ("request_", "host", "expected"),
    [
        (wanted(), BARE, {}),
        (
            wanted(cpu_shares=2, cpu_quota=-1, cpu_period=100_000),
            {},
            {"cpu": {"shares": 2, "quota": -1, "period": 100_000}},
        ),
        (wanted(cpuset_cpus="0-3,8", cpuset_mems="0"), {}, {"cpu": {"cpus": "0-3,8", "mems": "0"}}),
        (wanted(memory_limit_in_bytes=MIB), {}, {"memory": {"limit": MIB, "swap": MIB}}),
        (wanted(memory_limit_in_bytes=MIB), {"swap": False}, {"memory": {"limit": MIB}}),
        (
            wanted(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=3 * MIB),
            {},
            {"memory": {"limit": MIB, "swap": 3 * MIB}},
        ),
        (
            wanted(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=-1),
            {},
            {"memory": {"limit": MIB, "swap": -1}},
        ),
        (pages("2MB", 4 * MIB), {}, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}),
        (pages("2MB", 0), {}, {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        (pages("2MB", 0), BARE, {}),
        (pages("2MB", 2**64 - 1), {}, {"hugepageLimits": [{"pageSize": "2MB", "limit": 2**63 - 1}]}),
        (wanted(unified={"memory.high": "1"}), {}, {"unified": {"memory.high": "1"}}),
        (wanted(), {"pids_limit": 100}, {"pids": {"limit": 100}}),
        (wanted(unified={"pids.max": "7"}), {"pids_limit": 100}, {"unified": {"pids.max": "7"}}),
    ],
)
def test_limits(
    facts: Facts, request_: api.LinuxContainerResources, host: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert linux_resources(request_, facts(**host)) == expected


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (wanted(cpu_shares=-1), "cpu_shares -1"),
        (wanted(cpu_period=999), "cpu_period 999"),
        (wanted(cpu_period=1_000_001), "cpu_period"),
        (wanted(cpu_quota=999), "cpu_quota 999"),
        (wanted(cpu_quota=-2), "cpu_quota -2"),
        (wanted(cpuset_cpus="0-"), "cpuset_cpus '0-'"),
        (wanted(cpuset_mems="0\n1"), "cpuset_mems"),
        (wanted(memory_limit_in_bytes=-2), "memory_limit_in_bytes -2"),
        (wanted(memory_swap_limit_in_bytes=MIB), "needs memory_limit_in_bytes"),
        (wanted(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=1), "is below memory_limit_in_bytes"),
        (wanted(memory_limit_in_bytes=-1, memory_swap_limit_in_bytes=MIB), "is below memory_limit_in_bytes"),
        (wanted(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=-9), "memory_swap_limit_in_bytes -9"),
        (pages("3MB", 1), "no pages of '3MB', but 1GB, 2MB"),
        (wanted(unified={"../x": "1"}), "'../x' is not"),
        (wanted(unified={"cgroup.procs": "1"}), "'cgroup.procs' is not"),
        (wanted(unified={"memory": "1"}), "'memory' is not"),
        (wanted(unified={"memory.high": "1\0"}), "NUL"),
    ],
)
def test_a_value_that_cannot_be_is_refused(facts: Facts, request_: api.LinuxContainerResources, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        linux_resources(request_, facts())


@pytest.mark.parametrize(
    ("request_", "host", "text"),
    [
        (wanted(cpu_shares=5), BARE, "cpu_shares, and this host has no cpu cgroup"),
        (wanted(cpuset_mems="0"), BARE, "cpuset_mems, and this host has no cpuset"),
        (wanted(memory_limit_in_bytes=MIB), BARE, "no memory cgroup"),
        (pages("2MB", 1), BARE, "no hugetlb cgroup"),
        (wanted(unified={"rdma.max": "1"}), {}, r"unified\[rdma.max\], and this host has no rdma"),
        (wanted(unified={"memory.high": "1"}), V1, "has cgroup v1"),
        (wanted(memory_limit_in_bytes=MIB, memory_swap_limit_in_bytes=-1), {"swap": False}, "swapaccount=1"),
        (wanted(), {"pids_limit": 5, "controllers": frozenset()}, r"runtime\.pids_limit"),
    ],
)
def test_a_limit_that_the_host_cannot_keep_is_refused(
    facts: Facts, request_: api.LinuxContainerResources, host: dict[str, Any], text: str
) -> None:
    error: type[PodyardError] = FailedPrecondition
    with pytest.raises(error, match=text):
        linux_resources(request_, facts(**host))
