"""Both versions of cgroups, from files as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.stats.recorded import V1, V2, v1, v2, write

from podyard.stats.cgroup_v1 import CgroupV1
from podyard.stats.cgroup_v2 import CgroupV2
from podyard.stats.usage import Cpu, DeviceIo, HugePages, Limits, Tasks, Throttling


@pytest.fixture(params=["v1", "v2"])
def cgroup(request: pytest.FixtureRequest, tmp_path: Path) -> CgroupV1 | CgroupV2:
    """The same container on either."""
    write(tmp_path, V1 if request.param == "v1" else V2)
    return v1(tmp_path) if request.param == "v1" else v2(tmp_path)


@pytest.fixture(params=["v1", "v2"])
def gone(request: pytest.FixtureRequest, tmp_path: Path) -> CgroupV1 | CgroupV2:
    return v1(tmp_path / "gone") if request.param == "v1" else v2(tmp_path / "gone")


def test_cpu_time(cgroup: CgroupV1 | CgroupV2) -> None:
    cpu = cgroup.cpu()
    assert cpu is not None
    # v2 counts in microseconds.
    assert cpu.usage == cgroup.cpu_usage()
    assert [cpu.usage // 1000, cpu.user // 1000, cpu.system // 1000] == [2825951, 2700000, 125951]
    assert cpu.throttling == Throttling(28, 4, 1_500_000)


def test_memory(cgroup: CgroupV1 | CgroupV2) -> None:
    memory = cgroup.memory()
    assert memory is not None
    assert (memory.usage, memory.limit, memory.working_set) == (3477504, 67108864, 331776)
    assert memory.available == 67108864 - 331776
    assert (memory.rss, memory.cache, memory.mapped_file) == (61440, 3166208, 4096)
    assert (memory.kernel, memory.peak, memory.limit_hits) == (249856, 5173248, 12)
    assert (memory.page_faults, memory.major_page_faults) == (1121, 3)
    assert cgroup.oom_kills() == 1


def test_swap_is_counted_without_memory(cgroup: CgroupV1 | CgroupV2) -> None:
    memory = cgroup.memory()
    assert memory is not None
    assert (memory.swap, memory.swap_limit, memory.swap_available) == (8192, 33554432, 33554432 - 8192)


def test_io_and_huge_pages(cgroup: CgroupV1 | CgroupV2) -> None:
    assert cgroup.io() == [DeviceIo("254:0", 12288, 3145728, 3, 24)]
    of_v1 = isinstance(cgroup, CgroupV1)
    assert cgroup.huge_pages() == [
        HugePages("1GB", 0, 0 if of_v1 else None),
        HugePages("2MB", 4194304, 6291456 if of_v1 else None),
    ]


def test_tasks_and_processes(cgroup: CgroupV1 | CgroupV2) -> None:
    assert cgroup.tasks() == Tasks(5, None)
    assert cgroup.processes() == [11, 12, 13]


def test_limits_of_v1(tmp_path: Path) -> None:
    write(tmp_path, V1)
    assert v1(tmp_path).limits() == Limits(1024, 100000, 20000, 67108864, None, 100663296)
    write(tmp_path, {"cpu/cpu.cfs_quota_us": "-1\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"})
    limits = v1(tmp_path).limits()
    assert (limits.cpu_quota, limits.memory) == (None, None)
    memory = v1(tmp_path).memory()
    assert memory is not None
    assert (memory.limit, memory.available, memory.swap_available) == (None, None, None)


def test_limits_of_v2(tmp_path: Path) -> None:
    write(tmp_path, V2)
    assert v2(tmp_path).limits() == Limits(998, 100000, 20000, 67108864, 1048576, 33554432)
    write(tmp_path, {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.swap.max": "max\n"})
    limits = v2(tmp_path).limits()
    assert (limits.cpu_quota, limits.cpu_period, limits.memory) == (None, 100000, None)


@pytest.mark.parametrize(("weight", "shares"), [("1", 2), ("39", 998), ("100", 2597), ("10000", 262144)])
def test_a_weight_of_v2_as_shares(tmp_path: Path, weight: str, shares: int) -> None:
    write(tmp_path, {"cpu.weight": weight})
    assert v2(tmp_path).limits().cpu_shares == shares


def test_the_kernels_memory_before_linux_5_18(tmp_path: Path) -> None:
    write(tmp_path, V2)
    text = V2["memory.stat"].replace("kernel 249856\n", "")
    write(tmp_path, {"memory.stat": text})
    memory = v2(tmp_path).memory()
    assert memory is not None
    assert memory.kernel == 16384 + 40960 + 118784


def test_pressure_of_v2(tmp_path: Path) -> None:
    write(tmp_path, V2)
    found = {name: v2(tmp_path).pressure(name) for name in ("cpu", "memory", "io")}
    totals = {name: (one.some.total, one.full.total) for name, one in found.items() if one is not None}
    assert totals == {"cpu": (3000000, 2000000), "memory": (11, 10), "io": (5, 4)}


def test_v1_has_pressure_only_in_the_unified_tree_of_a_hybrid_host(tmp_path: Path) -> None:
    write(tmp_path / "v1", V1)
    write(tmp_path / "unified", {"cpu.pressure": V2["cpu.pressure"]})
    assert v1(tmp_path / "v1").pressure("cpu") is None
    pressure = v1(tmp_path / "v1", tmp_path / "unified").pressure("cpu")
    assert pressure is not None
    assert pressure.some.total == 3000000
    assert v1(tmp_path / "v1", tmp_path / "gone").pressure("cpu") is None


def test_v2_without_a_cpu_limit_has_no_throttling_at_all(tmp_path: Path) -> None:
    write(tmp_path, {"cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"})
    assert v2(tmp_path).cpu() == Cpu(5000, 3000, 2000, None)


def test_what_is_gone_or_not_counted_is_none(gone: CgroupV1 | CgroupV2) -> None:
    assert gone.cpu_usage() is None
    assert gone.cpu() is None
    assert gone.memory() is None
    assert gone.tasks() is None
    assert gone.oom_kills() is None
    assert gone.pressure("cpu") is None
    assert gone.limits() == Limits(None, None, None, None, None, None)
    assert (gone.io(), gone.huge_pages(), gone.processes()) == ([], [], [])


def test_a_kernel_without_swap_accounting(tmp_path: Path) -> None:
    write(tmp_path, V1)
    text = V1["memory/memory.stat"].replace("total_swap 8192\n", "")
    write(tmp_path, {"memory/memory.stat": text})
    (tmp_path / "memory/memory.memsw.limit_in_bytes").unlink()
    memory = v1(tmp_path).memory()
    assert memory is not None
    assert (memory.swap, memory.swap_limit, memory.swap_available) == (None, None, None)
