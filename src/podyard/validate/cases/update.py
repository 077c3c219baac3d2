"""UpdateContainerResources."""

from __future__ import annotations

from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, NotFound, PodyardError
from podyard.validate.case import case, table
from podyard.validate.cases.resources import LIMITS, MEBIBYTE, in_cgroup, is_v2
from podyard.validate.expect import equal, holds
from podyard.validate.kit import NOBODY, Kit
from podyard.validate.requests import limits, pod_limits

NEEDS = "the call UpdateContainerResources"


async def _update(kit: Kit, container_id: str, **fields: Any) -> None:
    request = api.UpdateContainerResourcesRequest(container_id=container_id, linux=pod_limits(**fields))
    await kit.runtime.call("UpdateContainerResources", request)


@table("update", {f"{name} of a running container": row for name, row in LIMITS.items()}, needs=NEEDS)
async def _(kit: Kit, fields: dict[str, Any], v1: tuple[str, str], v2: tuple[str, str]) -> None:
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=256 * MEBIBYTE))
    await _update(kit, container_id, **fields)
    came = await in_cgroup(kit, container_id, v1[0], v2[0])
    equal(came, v2[1] if is_v2() else v1[1], v2[0] if is_v2() else v1[0])


@case("update", "a created container starts with its new limits", needs=NEEDS)
async def _(kit: Kit) -> None:
    script = f"cat {'/sys/fs/cgroup/memory.max' if is_v2() else '/sys/fs/cgroup/memory/memory.limit_in_bytes'}"
    container_id = await kit.create(["sh", "-c", script], linux=limits(memory_limit_in_bytes=64 * MEBIBYTE))
    await _update(kit, container_id, memory_limit_in_bytes=96 * MEBIBYTE)
    await kit.runtime.start_container(container_id)
    equal(kit.output(await kit.ended(container_id)).strip(), str(96 * MEBIBYTE), "limit of memory")


@case("update", "the status tells the new limits", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=64 * MEBIBYTE, cpu_shares=300))
    await _update(kit, container_id, memory_limit_in_bytes=96 * MEBIBYTE)
    came = (await kit.status(container_id)).resources.linux
    equal((came.memory_limit_in_bytes, came.cpu_shares), (96 * MEBIBYTE, 300), "memory and the unchanged shares")


@case("update", "what is not asked for stays", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=64 * MEBIBYTE, cpu_period=100000, cpu_quota=30000))
    await _update(kit, container_id, cpu_shares=400)
    memory = await in_cgroup(kit, container_id, "memory/memory.limit_in_bytes", "memory.max")
    quota = await in_cgroup(kit, container_id, "cpu/cpu.cfs_quota_us", "cpu.max")
    equal((memory, quota.split()[0]), (str(64 * MEBIBYTE), "30000"), "memory and quota")


@case("update", "memory goes up and down again", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=64 * MEBIBYTE))
    for size in (128, 32, 256, 64):
        await _update(kit, container_id, memory_limit_in_bytes=size * MEBIBYTE)
        memory = await in_cgroup(kit, container_id, "memory/memory.limit_in_bytes", "memory.max")
        equal(memory, str(size * MEBIBYTE), "limit of memory")


@case("update", "memory and swap together go up and down again", needs=NEEDS)
async def _(kit: Kit) -> None:
    start = 64 * MEBIBYTE
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=start, memory_swap_limit_in_bytes=start))
    for size in (128, 32):
        both = size * MEBIBYTE
        await _update(kit, container_id, memory_limit_in_bytes=both, memory_swap_limit_in_bytes=both)
        memory = await in_cgroup(kit, container_id, "memory/memory.limit_in_bytes", "memory.max")
        equal(memory, str(both), "limit of memory")


@case("update", "annotations of the request are not the container's", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(annotations={"a": "1"})
    request = api.UpdateContainerResourcesRequest(
        container_id=container_id, linux=pod_limits(cpu_shares=200), annotations={"b": "2"}
    )
    await kit.runtime.call("UpdateContainerResources", request)
    equal(dict((await kit.status(container_id)).annotations), {"a": "1"}, "annotations")


@case("update", "memory below what is in use: refused with the old limit in force, or the kernel decides", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(await kit.sandbox(), linux=limits(memory_limit_in_bytes=128 * MEBIBYTE))
    await kit.exec(container_id, "dd", "if=/dev/zero", "of=/dev/shm/file", "bs=1M", "count=40")
    try:
        await _update(kit, container_id, memory_limit_in_bytes=8 * MEBIBYTE)
    except PodyardError as error:
        memory = await in_cgroup(kit, container_id, "memory/memory.limit_in_bytes", "memory.max")
        equal(memory, str(128 * MEBIBYTE), "limit of memory after the refusal")
        told = (await kit.status(container_id)).resources.linux.memory_limit_in_bytes
        equal(told, 128 * MEBIBYTE, "limit in the status after the refusal")
        holds(not kit.strict or str(8 * MEBIBYTE) in str(error), "an error with the figure asked for", error)
    else:
        holds(not kit.strict, "a refusal with both figures", "success")


@case("update", "a container that has exited is refused", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.start(["true"])
    await kit.ended(container_id)
    await kit.refused(_update(kit, container_id, cpu_shares=100), FailedPrecondition)


@case("update", "a container that is not there is NOT_FOUND", needs=NEEDS)
async def _(kit: Kit) -> None:
    await kit.refused(_update(kit, NOBODY, cpu_shares=100), NotFound, fixed=True)


@case("update", "processors that the host does not have are refused, and the old ones stay", needs=NEEDS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=limits(cpuset_cpus="0"))
    await kit.refused(_update(kit, container_id, cpuset_cpus="4000"), PodyardError)
    equal(await in_cgroup(kit, container_id, "cpuset/cpuset.cpus", "cpuset.cpus"), "0", "processors")
    equal((await kit.status(container_id)).resources.linux.cpuset_cpus, "0", "processors in the status")
