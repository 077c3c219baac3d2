"""UpdateContainerResources and UpdatePodSandboxResources, on cgroup v1 and v2."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit, kit_on
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound, PodyardError
from podyard.linux import cgroups
from podyard.oci.limits import weight

MIB = 1 << 20
Limits = api.LinuxContainerResources

V1 = {
    "memory": "memory/memory.limit_in_bytes",
    "shares": "cpu/cpu.shares",
    "quota": "cpu/cpu.cfs_quota_us",
    "period": "cpu/cpu.cfs_period_us",
    "cpus": "cpuset/cpuset.cpus",
}
V2 = {"memory": "memory.max", "shares": "cpu.weight", "cpus": "cpuset.cpus"}


async def pid(kit: Kit, container_id: str) -> int:
    info = (await kit.client.runtime.container_status(container_id, verbose=True)).info
    return int(json.loads(info["info"])["pid"])


async def cgroup(kit: Kit, container_id: str) -> str:
    return cgroups.of_process(await pid(kit, container_id))


def limit(path: str, name: str) -> str:
    """A limit, as a file of either version has it; v2 keeps weights instead of shares."""
    if not cgroups.is_v2():
        controller, file = V1[name].split("/")
        return (cgroups.ROOT / controller / path.lstrip("/") / file).read_text().strip()
    folder = cgroups.ROOT / path.lstrip("/")
    if name in {"quota", "period"}:
        return (folder / "cpu.max").read_text().split()[name == "period"]
    return (folder / V2[name]).read_text().strip()


def shares(number: int) -> str:
    """What ``limit`` gives for processor shares."""
    return str(weight(number) if cgroups.is_v2() else number)


async def only_with_cgroupfs(kit: Kit) -> None:
    """Skip where systemd has the pods' cgroups: podyard leaves those to it."""
    if (await kit.client.runtime.runtime_config()).linux.cgroup_driver == api.SYSTEMD:
        pytest.skip("the cgroups of pods are systemd's here")


def linux(**fields: int | str) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(resources=Limits(**fields))  # type: ignore[arg-type]


async def test_limits_change_and_those_that_are_not_named_stay(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    made = linux(cpu_shares=512, cpu_period=100_000, cpu_quota=50_000, memory_limit_in_bytes=64 * MIB)
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=made)
    await kit.client.runtime.update_container_resources(
        container_id, Limits(cpu_quota=20_000, memory_limit_in_bytes=128 * MIB, cpuset_cpus="0")
    )
    path = await cgroup(kit, container_id)
    assert {name: limit(path, name) for name in V1} == {
        "memory": str(128 * MIB),
        "shares": shares(512),
        "quota": "20000",
        "period": "100000",
        "cpus": "0",
    }
    shown = (await kit.status(container_id)).resources.linux
    assert (shown.cpu_shares, shown.cpu_quota, shown.cpu_period) == (512, 20_000, 100_000)
    assert (shown.memory_limit_in_bytes, shown.cpuset_cpus) == (128 * MIB, "0")


async def test_a_memory_limit_goes_up_and_down_with_swap_beside_it(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=linux(memory_limit_in_bytes=64 * MIB))
    path = await cgroup(kit, container_id)
    for size in (256 * MIB, 32 * MIB, 96 * MIB):
        await kit.client.runtime.update_container_resources(container_id, Limits(memory_limit_in_bytes=size))
        assert limit(path, "memory") == str(size)
    for size in (256 * MIB, 32 * MIB):
        both = Limits(memory_limit_in_bytes=size, memory_swap_limit_in_bytes=2 * size)
        await kit.client.runtime.update_container_resources(container_id, both)
        assert limit(path, "memory") == str(size)
        assert (await kit.status(container_id)).resources.linux.memory_swap_limit_in_bytes == 2 * size


async def test_a_container_without_swap_stays_without(kit: Kit) -> None:
    """A kubelet says so with two limits that are the same; `crictl update --memory` names one."""
    sandbox_id = await kit.sandbox()
    none = linux(memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=64 * MIB)
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=none)
    path = await cgroup(kit, container_id)
    for size in (256 * MIB, 32 * MIB):
        await kit.client.runtime.update_container_resources(container_id, Limits(memory_limit_in_bytes=size))
        assert limit(path, "memory") == str(size)
        assert (await kit.status(container_id)).resources.linux.memory_swap_limit_in_bytes == size


async def test_a_container_that_was_not_started_has_limits_to_change(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.create(sandbox_id, ["sleep", "1000"])
    await kit.client.runtime.update_container_resources(container_id, Limits(memory_limit_in_bytes=64 * MIB))
    await kit.client.runtime.start_container(container_id)
    assert limit(await cgroup(kit, container_id), "memory") == str(64 * MIB)


async def test_a_container_that_has_ended_has_none(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["true"])
    await kit.ended(container_id)
    with pytest.raises(FailedPrecondition, match="exited"):
        await kit.client.runtime.update_container_resources(container_id, Limits(cpu_shares=100))


async def test_limits_of_what_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        await kit.client.runtime.update_container_resources("0" * 64, Limits(cpu_shares=100))


async def test_a_memory_limit_below_what_is_used_is_refused_with_both_figures(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; echo full; sleep 1000"
    container_id = await kit.start(sandbox_id, ["sh", "-c", script])
    async with asyncio.timeout(20 * PATIENCE):
        while "full" not in kit.output(await kit.status(container_id)):
            await asyncio.sleep(0.02)
    path = await cgroup(kit, container_id)
    before = (limit(path, "memory"), limit(path, "shares"))
    with pytest.raises(FailedPrecondition) as refused:
        wanted = Limits(memory_limit_in_bytes=20 * MIB, cpu_shares=100)
        await kit.client.runtime.update_container_resources(container_id, wanted)
    used, asked = (int(figure) for figure in re.findall(r"(\d+) bytes", str(refused.value)))
    assert 40 * MIB <= used < 60 * MIB
    assert asked == 20 * MIB
    assert (limit(path, "memory"), limit(path, "shares")) == before


@pytest.mark.parametrize(
    "wanted",
    [
        Limits(cpu_quota=-7),
        Limits(cpu_period=5),
        Limits(cpuset_cpus="0-"),
        Limits(cpuset_cpus="511"),
        Limits(oom_score_adj=1001),
    ],
    ids=["quota", "period", "cpus", "no such cpu", "oom score"],
)
async def test_what_cannot_be_is_refused_and_nothing_changes(kit: Kit, wanted: Limits) -> None:
    sandbox_id = await kit.sandbox()
    made = linux(cpu_shares=512, memory_limit_in_bytes=64 * MIB)
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=made)
    path = await cgroup(kit, container_id)
    before = {name: limit(path, name) for name in V1}
    shown = await kit.status(container_id)
    wanted.memory_limit_in_bytes, wanted.cpu_shares = 128 * MIB, 256
    with pytest.raises(InvalidArgument):
        await kit.client.runtime.update_container_resources(container_id, wanted)
    assert {name: limit(path, name) for name in V1} == before
    assert await kit.status(container_id) == shown


async def test_of_changes_at_the_same_time_none_is_lost(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    changes = [Limits(memory_limit_in_bytes=64 * MIB), Limits(cpu_shares=300), Limits(cpu_quota=30_000)]
    await asyncio.gather(
        *(kit.client.runtime.update_container_resources(container_id, change) for change in changes * 3)
    )
    path = await cgroup(kit, container_id)
    assert [limit(path, name) for name in ("memory", "shares", "quota")] == [str(64 * MIB), shares(300), "30000"]
    shown = (await kit.status(container_id)).resources.linux
    assert (shown.memory_limit_in_bytes, shown.cpu_shares, shown.cpu_quota) == (64 * MIB, 300, 30_000)


async def test_oom_score_adj_changes_for_all_processes(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    script = "sleep 1000 & sleep 1000; true"
    container_id = await kit.start(sandbox_id, ["sh", "-c", script], linux=linux(oom_score_adj=500))
    path = await cgroup(kit, container_id)
    async with asyncio.timeout(20 * PATIENCE):
        while len(found := cgroups.processes(path)) < 3:
            await asyncio.sleep(0.02)
    await kit.client.runtime.update_container_resources(container_id, Limits(oom_score_adj=800))
    assert {Path(f"/proc/{number}/oom_score_adj").read_text().strip() for number in found} == {"800"}


@pytest.fixture
async def own_kit(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    """podyard alone: containerd 1.6 has no such call."""
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "tests", images.busybox, podyard.name)
        try:
            yield kit
        finally:
            await kit.close()


async def test_a_pod_of_podyards_own_cgroup_gets_its_limits_there(own_kit: Kit) -> None:
    await only_with_cgroupfs(own_kit)
    sandbox_id = await own_kit.sandbox()
    runtime = own_kit.client.runtime
    container_id = await own_kit.start(sandbox_id, ["sleep", "1000"])
    pod = str(Path(await cgroup(own_kit, container_id)).parent)
    resources, overhead = Limits(cpu_shares=500, memory_limit_in_bytes=64 * MIB), Limits(memory_limit_in_bytes=8 * MIB)
    await runtime.update_pod_sandbox_resources(sandbox_id, resources, overhead)
    assert (limit(pod, "memory"), limit(pod, "shares")) == (str(72 * MIB), shares(500))
    await runtime.update_pod_sandbox_resources(sandbox_id, Limits(cpu_quota=150_000))
    assert (limit(pod, "memory"), limit(pod, "quota")) == (str(72 * MIB), "150000")
    info = json.loads((await runtime.pod_sandbox_status(sandbox_id, verbose=True)).info["info"])
    assert info["resources"] == {"cpu_shares": "500", "memory_limit_in_bytes": str(64 * MIB), "cpu_quota": "150000"}
    assert info["overhead"] == {"memory_limit_in_bytes": str(8 * MIB)}
    with pytest.raises(NotFound):
        await runtime.update_pod_sandbox_resources("0" * 64, resources)


async def test_a_pods_limits_hold_before_it_has_a_container(own_kit: Kit) -> None:
    await only_with_cgroupfs(own_kit)
    sandbox_id = await own_kit.sandbox()
    update = own_kit.client.runtime.update_pod_sandbox_resources
    await update(sandbox_id, Limits(memory_limit_in_bytes=64 * MIB))
    container_id = await own_kit.start(sandbox_id, ["sleep", "1000"])
    pod = str(Path(await cgroup(own_kit, container_id)).parent)
    before = (limit(pod, "memory"), limit(pod, "shares"))
    assert before[0] == str(64 * MIB)
    with pytest.raises(FailedPrecondition, match=r"uses .* bytes of memory now"):
        await update(sandbox_id, Limits(memory_limit_in_bytes=4096, cpu_shares=100))
    assert (limit(pod, "memory"), limit(pod, "shares")) == before


async def test_a_clients_own_cgroup_is_left_to_it(own_kit: Kit) -> None:
    await only_with_cgroupfs(own_kit)
    parent = f"/podyard-test-{own_kit.folder.parent.name}"
    sandbox_id = await own_kit.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))
    try:
        container_id = await own_kit.start(sandbox_id, ["sleep", "1000"])
        before = limit(parent, "memory")
        await own_kit.client.runtime.update_pod_sandbox_resources(sandbox_id, Limits(memory_limit_in_bytes=64 * MIB))
        assert limit(parent, "memory") == before
        info = json.loads((await own_kit.client.runtime.pod_sandbox_status(sandbox_id, verbose=True)).info["info"])
        assert info["resources"] == {"memory_limit_in_bytes": str(64 * MIB)}
        await own_kit.client.runtime.remove_container(container_id)
    finally:
        await own_kit.close()
        cgroups.remove(parent)


async def test_changed_limits_survive_a_restart(own: Podyard, images: Images) -> None:
    async with kit_on(own, images.busybox) as kit:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sleep", "1000"])
        await kit.client.runtime.update_container_resources(container_id, Limits(memory_limit_in_bytes=64 * MIB))
        before = await kit.status(container_id)
        own.kill()
        own.spawn()
        await own.ready()
        assert await kit.status(container_id) == before
        with pytest.raises(PodyardError):
            await kit.client.runtime.update_container_resources(container_id, Limits(cpu_period=1))
        assert before.resources.linux.memory_limit_in_bytes == 64 * MIB
