"""Limits: what is asked for stands in the container's cgroup, and holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, equal, holds, one_of, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import limits

MEBIBYTE = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")


def is_v2() -> bool:
    """Only the version 2 hierarchy is mounted."""
    return (CGROUPS / "cgroup.controllers").exists()


def has_controller(name: str) -> bool:
    """The host's kernel offers a controller."""
    if is_v2():
        return name in (CGROUPS / "cgroup.controllers").read_text().split()
    return (CGROUPS / name).is_dir()


def weight(shares: int) -> int:
    """cpu.weight for cpu.shares, as the OCI runtimes convert it (runc issue 2212)."""
    return 1 + ((shares - 2) * 9999) // 262142


LIMITS: dict[str, tuple[dict[str, Any], tuple[str, str], tuple[str, str]]] = {
    "memory": (
        {"memory_limit_in_bytes": 64 * MEBIBYTE},
        ("memory/memory.limit_in_bytes", str(64 * MEBIBYTE)),
        ("memory.max", str(64 * MEBIBYTE)),
    ),
    "memory and swap together": (
        {"memory_limit_in_bytes": 64 * MEBIBYTE, "memory_swap_limit_in_bytes": 96 * MEBIBYTE},
        ("memory/memory.memsw.limit_in_bytes", str(96 * MEBIBYTE)),
        ("memory.swap.max", str(32 * MEBIBYTE)),
    ),
    "CPU quota": (
        {"cpu_period": 100000, "cpu_quota": 20000},
        ("cpu/cpu.cfs_quota_us", "20000"),
        ("cpu.max", "20000 100000"),
    ),
    "CPU period": (
        {"cpu_period": 50000, "cpu_quota": 20000},
        ("cpu/cpu.cfs_period_us", "50000"),
        ("cpu.max", "20000 50000"),
    ),
    "CPU shares": ({"cpu_shares": 512}, ("cpu/cpu.shares", "512"), ("cpu.weight", str(weight(512)))),
    "the processors": ({"cpuset_cpus": "0"}, ("cpuset/cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    "the memory nodes": ({"cpuset_mems": "0"}, ("cpuset/cpuset.mems", "0"), ("cpuset.mems", "0")),
}


async def in_cgroup(kit: Kit, container_id: str, v1: str, v2: str) -> str:
    """A file of the container's cgroup, as it is seen inside; skips where the host's kernel does not have it.

    Raises Unmet where the kernel has it: then the runtime has not made the cgroup, or not mounted it.
    """
    name = v2 if is_v2() else v1
    script = f"cat /sys/fs/cgroup/{name} 2>/dev/null || echo absent"
    text = (await kit.exec(container_id, "sh", "-c", script)).strip()
    if text == "absent":
        if not _has_file(name):
            skip(f"the host's kernel has no {name}, or its controller is not mounted")
        raise Unmet(f"/sys/fs/cgroup/{name} inside, which the host's kernel has", "no such file")
    return text


def _has_file(name: str) -> bool:
    """Whether the host's kernel has a file of cgroups. The root of version 2 has few: there its controller tells."""
    if not is_v2():
        return (CGROUPS / name).exists()
    controller, _, rest = name.partition(".")
    if controller == "hugetlb":
        return has_controller(controller) and Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists()
    if rest.startswith("swap."):
        return any(CGROUPS.glob(f"*/{name}"))
    return has_controller(controller)


@table("limits", {f"{name} of the request": row for name, row in LIMITS.items()})
async def _(kit: Kit, fields: dict[str, Any], v1: tuple[str, str], v2: tuple[str, str]) -> None:
    container_id = await kit.idle(linux=limits(**fields))
    came = await in_cgroup(kit, container_id, v1[0], v2[0])
    equal(came, v2[1] if is_v2() else v1[1], v2[0] if is_v2() else v1[0])


@case("limits", "without any, memory and CPU are not limited")
async def _(kit: Kit) -> None:
    container_id = await kit.session.idle()
    memory = await in_cgroup(kit, container_id, "memory/memory.limit_in_bytes", "memory.max")
    holds(memory == "max" or int(memory) > 1 << 60, "no limit of memory", memory)
    quota = await in_cgroup(kit, container_id, "cpu/cpu.cfs_quota_us", "cpu.max")
    one_of(quota.split()[0], ("-1", "max"), "CPU quota")


@case("limits", "memory is enforced")
async def _(kit: Kit) -> None:
    linux = limits(memory_limit_in_bytes=32 * MEBIBYTE, memory_swap_limit_in_bytes=32 * MEBIBYTE)
    script = "dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null && echo small"
    equal(await kit.shell(script, linux=linux), "small\n", "output of what fits")
    status = await kit.ended(await kit.start(["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"], linux=linux))
    equal(status.exit_code, 137, "exit code of what does not")


@case("limits", "what is written to a tmpfs counts as memory")
async def _(kit: Kit) -> None:
    linux = limits(memory_limit_in_bytes=24 * MEBIBYTE, memory_swap_limit_in_bytes=24 * MEBIBYTE)
    sandbox_id = await kit.sandbox()
    script = "dd if=/dev/zero of=/dev/shm/file bs=1M count=60 2>/dev/null"
    status = await kit.ended(await kit.start(["sh", "-c", f"{script}; exit $?"], sandbox_id, linux=linux))
    equal(status.exit_code, 137, "exit code")


@table(
    "limits",
    {
        "a higher oom_score_adj": (500,),
        "the highest oom_score_adj": (1000,),
        "an oom_score_adj of 0, or what the host grants": (0,),
    },
)
async def _(kit: Kit, score: int) -> None:
    # Without CAP_SYS_RESOURCE a runtime cannot go below its own value: as a rule this process has that one, too, but
    # in a desktop's terminal it has a higher one.
    floor = int(Path("/proc/self/oom_score_adj").read_text())
    output = await kit.shell("cat /proc/self/oom_score_adj", linux=limits(oom_score_adj=score))
    one_of(int(output), (score, max(score, floor)), "oom_score_adj")


@case("limits", "an oom_score_adj that the host does not grant is raised to what it does")
async def _(kit: Kit) -> None:
    output = await kit.shell("cat /proc/self/oom_score_adj", linux=limits(oom_score_adj=-999))
    # Runtimes may have another value than this process: what counts is that the container starts.
    one_of(int(output), range(-999, 1001), "oom_score_adj")


@case("limits", "huge pages of a size that the kernel has")
async def _(kit: Kit) -> None:
    if not has_controller("hugetlb"):
        skip("the host's kernel has no hugetlb controller, or it is not mounted")
    linux = limits(hugepage_limits=[api.HugepageLimit(page_size="2MB", limit=4 * MEBIBYTE)])
    container_id = await kit.idle(linux=linux)
    came = await in_cgroup(kit, container_id, "hugetlb/hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")
    equal(came, str(4 * MEBIBYTE), "limit")


@case("limits", "huge pages of nothing are no error")
async def _(kit: Kit) -> None:
    sizes = [path.name.removeprefix("hugepages-") for path in Path("/sys/kernel/mm/hugepages").glob("hugepages-*")]
    if "2048kB" not in sizes:
        skip("the kernel has no huge pages of 2 MB")
    linux = limits(hugepage_limits=[api.HugepageLimit(page_size="2MB", limit=0)])
    try:
        equal(await kit.shell("echo runs", linux=linux), "runs\n", "output")
    except PodyardError as error:
        holds("hugetlb" in str(error).lower() or "huge" in str(error).lower(), "an error that names huge pages", error)


@case("limits", "files of cgroup v2 are written as given")
async def _(kit: Kit) -> None:
    if not is_v2():
        skip("this host has cgroup v1")
    container_id = await kit.idle(linux=limits(unified={"memory.low": str(8 * MEBIBYTE)}))
    equal(await in_cgroup(kit, container_id, "", "memory.low"), str(8 * MEBIBYTE), "memory.low")


@case("limits", "files of cgroup v2 on a host with cgroup v1 are refused")
async def _(kit: Kit) -> None:
    if is_v2():
        skip("this host has cgroup v2")
    if not kit.strict:
        skip("the protocol does not say what becomes of them; a strict run asks")
    await kit.refused(kit.start(["true"], linux=limits(unified={"memory.low": "1"})), PodyardError)


WRONG = {
    "a processor that the host does not have is refused": {"cpuset_cpus": "4000"},
    "processors that are no list are refused": {"cpuset_cpus": "first"},
    "a memory node that the host does not have is refused": {"cpuset_mems": "900"},
    "swap below memory is refused": {
        "memory_limit_in_bytes": 64 * MEBIBYTE,
        "memory_swap_limit_in_bytes": 32 * MEBIBYTE,
    },
}


@table("limits", {name: (fields,) for name, fields in WRONG.items()})
async def _(kit: Kit, fields: dict[str, Any]) -> None:
    await kit.refused(kit.start(["true"], linux=limits(**fields)), PodyardError)


@table(
    "limits",
    {
        "an oom_score_adj above 1000 is refused": ({"oom_score_adj": 1001},),
        "a negative memory limit is refused": ({"memory_limit_in_bytes": -2},),
        "negative CPU shares are refused": ({"cpu_shares": -1},),
    },
)
async def _(kit: Kit, fields: dict[str, Any]) -> None:
    if not kit.strict:
        skip("the protocol does not say what becomes of it; a strict run asks")
    await kit.refused(kit.start(["true"], linux=limits(**fields)), InvalidArgument)


@case("limits", "each container has a cgroup of its own")
async def _(kit: Kit) -> None:
    paths = set()
    for _ in range(2):
        container_id = await kit.idle()
        paths.add(((await kit.process(container_id)) / "cgroup").read_text())
    equal(len(paths), 2, "different cgroups")
