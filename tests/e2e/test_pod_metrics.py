"""The metrics of pod sandboxes and their containers: real processes, disks and networks."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.patience import PATIENCE
from tests.support.pods import Kit, limits

from podyard.cri import api

# containerd 1.6 has no metrics.
pytestmark = pytest.mark.parametrize("server", ["podyard"], indirect=True)

MIB = 1 << 20


async def metrics_of(kit: Kit, sandbox_id: str) -> api.PodSandboxMetrics:
    found = await kit.client.runtime.list_pod_sandbox_metrics()
    [metrics] = [one for one in found if one.pod_sandbox_id == sandbox_id]
    return metrics


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
