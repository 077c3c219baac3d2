"""What pod sandboxes use: real processes and networks."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import SYSTEMD, Server

from podyard.cri import api
from podyard.errors import NotFound
from podyard.linux import cgroups

podyard_only = pytest.mark.parametrize("server", ["podyard"], indirect=True)
"""containerd 1.6 measures no pod outside of a kubelet's cgroups."""


@pytest.fixture
def parent(server: Server) -> Iterator[str]:
    """A cgroup for one pod, named as a kubelet does: only there does containerd measure pods."""
    if server.name == "podyard" and SYSTEMD:
        slice_ = f"pyteststats{os.getpid()}.slice"
        yield slice_
        subprocess.run(["systemctl", "stop", slice_], check=True)
        return
    path = f"/pytest-stats-{os.getpid()}/pod"
    yield path
    cgroups.remove(path)
    cgroups.remove(str(Path(path).parent))


async def pod_stats(kit: Kit, sandbox_id: str) -> api.PodSandboxStats:
    return await kit.client.runtime.pod_sandbox_stats(sandbox_id)


async def test_a_sandbox_that_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        await kit.client.runtime.pod_sandbox_stats("0123456789abcdef")


async def test_a_sandbox_is_the_sum_of_what_is_in_it(parent: str, kit: Kit) -> None:
    config = kit.sandbox_config(
        labels={"app": "web"}, annotations={"note": "x"}, linux=api.LinuxPodSandboxConfig(cgroup_parent=parent)
    )
    sandbox_id = await kit.sandbox(config)
    ids = {await kit.start(sandbox_id, ["sh", "-c", "sleep 1000 & wait"]) for _ in range(2)}
    async with asyncio.timeout(20 * PATIENCE):
        while (stats := await pod_stats(kit, sandbox_id)).linux.process.process_count.value < 4:
            await asyncio.sleep(0.05)
    assert stats.attributes == api.PodSandboxAttributes(
        id=sandbox_id, metadata=config.metadata, labels={"app": "web"}, annotations={"note": "x"}
    )
    linux = stats.linux
    assert {container.attributes.id for container in linux.containers} == ids
    assert linux.process.process_count.value == 4
    parts = [container.cpu.usage_core_nano_seconds.value for container in linux.containers]
    assert linux.cpu.usage_core_nano_seconds.value >= sum(parts) > 0
    assert linux.memory.usage_bytes.value > max(one.memory.usage_bytes.value for one in linux.containers)
    assert linux.memory.working_set_bytes.value > 0


@podyard_only
async def test_the_network_of_a_sandbox_without_any_process(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    linux = (await pod_stats(kit, sandbox_id)).linux
    assert linux.process.process_count.value == 0
    assert linux.cpu.usage_core_nano_seconds.value == 0
    assert linux.memory.usage_bytes.value == 0
    assert linux.network.default_interface.name == "eth0"
    assert linux.network.timestamp > 0
    assert "lo" not in [one.name for one in linux.network.interfaces]


async def test_traffic_is_counted_from_the_pods_side(parent: str, kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    before = (await pod_stats(kit, sandbox_id)).linux.network
    gateway = (
        await kit.exec(container_id, "sh", "-c", "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'")
    ).strip()
    await kit.exec(container_id, "ping", "-c", "3", "-i", "0.2", "-s", "1000", gateway)
    after = (await pod_stats(kit, sandbox_id)).linux.network
    for field in ("rx_bytes", "tx_bytes"):
        grown = getattr(after.default_interface, field).value - getattr(before.default_interface, field).value
        assert 3 * 1042 <= grown < 20_000
    assert after.default_interface.rx_errors.value == 0


async def test_a_pod_on_the_hosts_network_has_no_network_figures(parent: str, kit: Kit) -> None:
    options = api.NamespaceOption(network=api.NODE, pid=api.CONTAINER)
    security = api.LinuxSandboxSecurityContext(namespace_options=options)
    linux_config = api.LinuxPodSandboxConfig(cgroup_parent=parent, security_context=security)
    sandbox_id = await kit.sandbox(hostname="", linux=linux_config)
    await kit.start(
        sandbox_id,
        ["sleep", "1000"],
        linux=api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(namespace_options=options)),
    )
    linux = (await pod_stats(kit, sandbox_id)).linux
    assert linux.HasField("cpu")
    assert not linux.HasField("network")


@podyard_only
async def test_the_infra_process_belongs_to_its_sandbox(kit: Kit) -> None:
    security = api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(pid=api.POD))
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(security_context=security))
    linux = (await pod_stats(kit, sandbox_id)).linux
    assert linux.process.process_count.value == 1
    assert linux.memory.usage_bytes.value > 0
    assert list(linux.containers) == []


@podyard_only
async def test_the_list_of_sandboxes_and_its_filters(kit: Kit) -> None:
    one, two = await kit.sandbox(labels={"app": "a"}), await kit.sandbox(labels={"app": "b"})
    runtime = kit.client.runtime

    async def ids(**fields: object) -> set[str]:
        found = await runtime.list_pod_sandbox_stats(api.PodSandboxStatsFilter(**fields))  # type: ignore[arg-type]
        return {stats.attributes.id for stats in found}

    assert await ids() >= {one, two}
    assert await ids(id=one[:20]) == {one}
    assert await ids(label_selector={"app": "b"}) == {two}
    await runtime.stop_pod_sandbox(one)
    assert await ids(id=one) == set()
    assert (await pod_stats(kit, one)).attributes.id == one
    assert not (await pod_stats(kit, one)).HasField("linux")
