"""What containers and sandboxes use, and metrics: real processes, disks and networks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import SYSTEMD, Podyard, Server

from podyard.client import Client
from podyard.cri import api
from podyard.errors import NotFound
from podyard.linux import cgroups

podyard_only = pytest.mark.parametrize("server", ["podyard"], indirect=True)
"""containerd 1.6 has no metrics, and measures no pod outside of a kubelet's cgroups."""

MIB = 1 << 20
SPIN = "while :; do :; done"


def limits(**resources: int) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(resources=api.LinuxContainerResources(**resources))


async def stats_of(kit: Kit, container_id: str) -> api.ContainerStats:
    return await kit.client.runtime.container_stats(container_id)


async def listed(kit: Kit, **fields: object) -> set[str]:
    """The ids in a list with a filter."""
    found = await kit.client.runtime.list_container_stats(api.ContainerStatsFilter(**fields))  # type: ignore[arg-type]
    return {stats.attributes.id for stats in found}


async def test_a_containers_attributes_come_back_as_given(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(
        sandbox_id, ["sleep", "1000"], name="main", labels={"app": "web"}, annotations={"note": "x"}
    )
    stats = await stats_of(kit, container_id)
    assert stats.attributes.id == container_id
    assert stats.attributes.metadata == api.ContainerMetadata(name="main")
    assert dict(stats.attributes.labels) == {"app": "web"}
    assert dict(stats.attributes.annotations) == {"note": "x"}


async def test_cpu_time_grows_and_its_rate_is_that_of_a_real_interval(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sh", "-c", SPIN], linux=limits(cpu_period=100_000, cpu_quota=20_000))
    began = time.monotonic()
    first = cpu = (await stats_of(kit, container_id)).cpu
    used = 0
    async with asyncio.timeout(30 * PATIENCE):
        # Some time must have been used: it is counted in ticks of a few milliseconds.
        while used < 40e6 or not cpu.usage_nano_cores.value:
            await asyncio.sleep(0.2)
            cpu = (await stats_of(kit, container_id)).cpu
            used = cpu.usage_core_nano_seconds.value - first.usage_core_nano_seconds.value
    elapsed = (time.monotonic() - began) * 1e9
    assert used < elapsed
    assert cpu.timestamp > first.timestamp
    if kit.runtime == "podyard":
        # The quota is a fifth of a processor. containerd's interval may be shorter than the quota's period.
        assert cpu.usage_nano_cores.value < 400_000_000


async def test_memory_that_is_used_and_that_is_left(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ready; sleep 1000; echo $x"
    container_id = await kit.start(sandbox_id, ["sh", "-c", script], linux=limits(memory_limit_in_bytes=200 * MIB))
    async with asyncio.timeout(30 * PATIENCE):
        while kit.output(await kit.status(container_id)) != "ready\n":
            await asyncio.sleep(0.05)
    memory = (await stats_of(kit, container_id)).memory
    assert 20_000_000 < memory.rss_bytes.value < 150 * MIB
    assert memory.rss_bytes.value < memory.working_set_bytes.value <= memory.usage_bytes.value
    assert memory.available_bytes.value == 200 * MIB - memory.working_set_bytes.value
    assert memory.page_faults.value > 10
    assert memory.timestamp > 0


async def test_the_page_cache_is_no_working_set(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    await kit.exec(container_id, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=20")
    memory = (await stats_of(kit, container_id)).memory
    assert memory.usage_bytes.value > 20 * MIB
    assert memory.working_set_bytes.value < 10 * MIB


async def test_the_list_and_its_filters(kit: Kit) -> None:
    one, two = await kit.sandbox(), await kit.sandbox()
    a = await kit.start(one, ["sleep", "1000"], labels={"app": "a", "tier": "x"})
    b = await kit.start(one, ["sleep", "1000"], labels={"app": "b"})
    c = await kit.start(two, ["sleep", "1000"], labels={"app": "a"})
    assert await listed(kit) >= {a, b, c}
    assert await listed(kit, id=a) == {a}
    assert await listed(kit, pod_sandbox_id=one) == {a, b}
    assert await listed(kit, label_selector={"app": "a"}) == {a, c}
    assert await listed(kit, label_selector={"app": "a", "tier": "x"}) == {a}
    assert await listed(kit, pod_sandbox_id=two, label_selector={"app": "b"}) == set()


async def test_filters_take_the_beginning_of_an_id(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    assert await listed(kit, id=container_id[:20]) == {container_id}
    assert await listed(kit, pod_sandbox_id=sandbox_id[:20]) == {container_id}


async def test_what_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        await kit.client.runtime.container_stats("0123456789abcdef")
    assert await listed(kit, id="0123456789abcdef") == set()


async def test_a_sandbox_that_is_not_there(kit: Kit) -> None:
    with pytest.raises(NotFound):
        await kit.client.runtime.pod_sandbox_stats("0123456789abcdef")


async def test_a_container_that_has_ended_is_in_no_list(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    ended = await kit.start(sandbox_id, ["true"])
    runs = await kit.start(sandbox_id, ["sleep", "1000"])
    await kit.ended(ended)
    assert await listed(kit, pod_sandbox_id=sandbox_id) == {runs}


async def test_a_container_that_has_ended_still_has_a_writable_layer(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["dd", "if=/dev/zero", "of=/file", "bs=1M", "count=2"])
    await kit.ended(container_id)
    async with asyncio.timeout(30 * PATIENCE):
        # The layer may have been measured while the container still wrote.
        while (stats := await stats_of(kit, container_id)).writable_layer.used_bytes.value < 2 * MIB:
            await asyncio.sleep(0.5)
    assert stats.attributes.id == container_id
    assert not stats.HasField("cpu")
    assert not stats.HasField("memory")


async def test_a_created_container_has_figures(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.create(sandbox_id, ["sleep", "1000"])
    stats = await stats_of(kit, container_id)
    assert stats.memory.usage_bytes.value > 0
    assert container_id in await listed(kit, pod_sandbox_id=sandbox_id)


async def test_what_a_container_writes_outside_of_its_mounts(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    volume = kit.folder / "volume"
    volume.mkdir()
    mounts = [api.Mount(host_path=str(volume), container_path="/volume")]
    script = (
        "head -c 3145728 /dev/zero | tee /file >/volume/file; i=0; while [ $i -lt 50 ]; do : >/f$i; i=$((i+1)); done"
    )
    container_id = await kit.start(sandbox_id, ["sh", "-c", f"{script}; echo done; sleep 1000"], mounts=mounts)
    async with asyncio.timeout(30 * PATIENCE):
        while kit.output(await kit.status(container_id)) != "done\n":
            await asyncio.sleep(0.05)
        # The layer may have been measured while the script still wrote.
        while (layer := (await stats_of(kit, container_id)).writable_layer).inodes_used.value < 51:
            await asyncio.sleep(0.5)
    assert 3 * MIB <= layer.used_bytes.value < 5 * MIB
    assert layer.inodes_used.value < 80
    assert layer.timestamp > 0
    images = await kit.client.images.image_fs_info()
    assert layer.fs_id in [one.fs_id for one in images.container_filesystems or images.image_filesystems]


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


async def metrics_of(kit: Kit, sandbox_id: str) -> api.PodSandboxMetrics:
    found = await kit.client.runtime.list_pod_sandbox_metrics()
    [metrics] = [one for one in found if one.pod_sandbox_id == sandbox_id]
    return metrics


@podyard_only
async def test_every_metric_has_the_labels_of_its_description(kit: Kit) -> None:
    config = kit.sandbox_config()
    sandbox_id = await kit.sandbox(config)
    container_id = await kit.start(
        sandbox_id,
        ["sleep", "1000"],
        name="main",
        linux=limits(cpu_period=100_000, cpu_quota=20_000, cpu_shares=512, memory_limit_in_bytes=64 * MIB),
    )
    await kit.exec(container_id, "sh", "-c", "echo hi >/file; sync")
    labels = {one.name: len(one.label_keys) for one in await kit.client.runtime.list_metric_descriptors()}
    metrics = await metrics_of(kit, sandbox_id)
    [of_container] = metrics.container_metrics
    assert of_container.container_id == container_id
    pod = config.metadata
    for metric in of_container.metrics:
        assert len(metric.label_values) == labels[metric.name]
        assert list(metric.label_values[:5]) == [container_id, kit.image, pod.namespace, pod.name, "main"]
        assert metric.timestamp > 0
    for metric in metrics.metrics:
        assert len(metric.label_values) == labels[metric.name]
        assert list(metric.label_values[:5]) == [sandbox_id, "", pod.namespace, pod.name, "POD"]
    values = {metric.name: metric.value.value for metric in of_container.metrics}
    expected = {
        "container_spec_cpu_period": 100_000,
        "container_spec_cpu_quota": 20_000,
        "container_spec_memory_limit_bytes": 64 * MIB,
        "container_processes": 1,
        "container_threads": 1,
        "container_sockets": 0,
        "container_oom_events_total": 0,
    }
    assert {name: values[name] for name in expected} == expected
    assert abs(values["container_last_seen"] - time.time()) < 60
    assert values["container_start_time_seconds"] == (await kit.status(container_id)).started_at // 10**9
    optional = ("pressure", "hugetlb", "fs_reads", "fs_writes", "blkio")
    given = {metric.name for metric in (*metrics.metrics, *of_container.metrics)}
    missing = {name for name in set(labels) - given if not any(word in name for word in optional)}
    assert missing == set()


@podyard_only
async def test_open_files_and_sockets_are_counted(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sh", "-c", "exec 7</etc/hosts; nc -l -p 7000 & wait"])

    async def values() -> dict[str, int]:
        [of_container] = (await metrics_of(kit, sandbox_id)).container_metrics
        assert of_container.container_id == container_id
        return {metric.name: metric.value.value for metric in of_container.metrics}

    async with asyncio.timeout(20 * PATIENCE):
        while (found := await values())["container_sockets"] != 1:
            await asyncio.sleep(0.05)
    assert found["container_processes"] == 2
    # Standard streams and the file in both, the socket in one.
    assert found["container_file_descriptors"] >= 9


async def descriptors(server: Podyard) -> int:
    """How many a runtime has open when it measures nothing: the least of several looks."""
    assert server.process is not None
    counts = []
    for _ in range(10):
        counts.append(len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())))
        await asyncio.sleep(0.05)
    return min(counts)


async def test_a_restarted_podyard_goes_on_measuring(tmp_path: Path, images: Images) -> None:
    server = Podyard(tmp_path / "own", stats={"interval": 1.0})
    server.folder.mkdir()
    await asyncio.to_thread(server.configure)
    server.spawn()
    await server.ready()
    try:
        async with await Client.connect(server.endpoint) as client:
            await client.images.pull_image(images.busybox)
            kit = Kit(client, server.folder / "tests", images.busybox, server.name)
            sandbox_id = await kit.sandbox()
            container_id = await kit.start(sandbox_id, ["sleep", "1000"])
            before = await stats_of(kit, container_id)
            server.kill()
            server.spawn()
            await server.ready()
            after = await stats_of(kit, container_id)
            assert after.attributes == before.attributes
            assert after.cpu.usage_core_nano_seconds.value >= before.cpu.usage_core_nano_seconds.value > 0
            # Looked at in the background alone, so that the next one who asks has a rate.
            async with asyncio.timeout(20 * PATIENCE):
                while not (await stats_of(kit, container_id)).cpu.HasField("usage_nano_cores"):
                    await asyncio.sleep(0.1)
            open_files = []
            for _ in range(2):
                for _ in range(20):
                    await client.runtime.list_container_stats()
                    await client.runtime.list_pod_sandbox_stats()
                    await client.runtime.list_pod_sandbox_metrics()
                open_files.append(await descriptors(server))
            assert open_files[0] == open_files[1]
            await kit.close()
    finally:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.reset)
