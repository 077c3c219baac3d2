"""What containers use: real processes and disks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit, limits
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import NotFound

MIB = 1 << 20
SPIN = "while :; do :; done"


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
