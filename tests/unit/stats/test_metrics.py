"""The table of metrics: its names and labels, and the values out of recorded files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from tests.unit.stats.recorded import V1, V2, v1, v2, write
from tests.unit.stats.test_messages import CONTAINER, DISK, SANDBOX

from podyard.cri import api
from podyard.stats import metrics, sample
from podyard.stats.usage import Interface

NAMES = """
    container_blkio_device_usage_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
    container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total container_cpu_usage_seconds_total
    container_cpu_user_seconds_total container_file_descriptors container_fs_inodes_free container_fs_inodes_total
    container_fs_limit_bytes container_fs_reads_bytes_total container_fs_reads_total container_fs_usage_bytes
    container_fs_writes_bytes_total container_fs_writes_total container_hugetlb_max_usage_bytes
    container_hugetlb_usage_bytes container_last_seen container_memory_cache container_memory_failcnt
    container_memory_failures_total container_memory_kernel_usage container_memory_mapped_file
    container_memory_max_usage_bytes container_memory_rss container_memory_swap container_memory_usage_bytes
    container_memory_working_set_bytes container_network_receive_bytes_total container_network_receive_errors_total
    container_network_receive_packets_dropped_total container_network_receive_packets_total
    container_network_transmit_bytes_total container_network_transmit_errors_total
    container_network_transmit_packets_dropped_total container_network_transmit_packets_total
    container_oom_events_total container_pressure_cpu_stalled_seconds_total
    container_pressure_cpu_waiting_seconds_total container_pressure_io_stalled_seconds_total
    container_pressure_io_waiting_seconds_total container_pressure_memory_stalled_seconds_total
    container_pressure_memory_waiting_seconds_total container_processes container_sockets container_spec_cpu_period
    container_spec_cpu_quota container_spec_cpu_shares container_spec_memory_limit_bytes
    container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes container_start_time_seconds
    container_threads container_threads_max container_ulimits_soft
"""
KUBELET = set(NAMES.split())
"""What a kubelet of 1.37 gave from cAdvisor, as the conformance suite lists it."""

FILE_SYSTEM = sample.FileSystem("/dev/sda1", 1 << 30, 65536, 60000)


def values(tmp_path: Path, version: str) -> dict[str, dict[tuple[str, ...], int]]:
    """By name, then by the values of the labels that are not those of all."""
    write(tmp_path, V1 if version == "v1" else V2)
    cgroup = v1(tmp_path) if version == "v1" else v2(tmp_path)
    taken = sample.take(cgroup, pid=os.getpid(), started_at=CONTAINER.started_at, disk=DISK, file_system=FILE_SYSTEM)
    assert taken is not None
    message = api.ContainerMetrics()
    metrics.add_container(message, CONTAINER, SANDBOX.attributes.metadata, taken)
    assert message.container_id == CONTAINER.id
    found: dict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
    labels = {descriptor.name: list(descriptor.label_keys) for descriptor in metrics.descriptors()}
    for metric in message.metrics:
        assert len(metric.label_values) == len(labels[metric.name]), metric
        base, own = tuple(metric.label_values[:5]), tuple(metric.label_values[5:])
        assert base == (CONTAINER.id, "registry.example/app:1", "default", "web", "main")
        assert metric.timestamp == taken.timestamp
        assert own not in found[metric.name], metric
        found[metric.name][own] = metric.value.value
    return found


def test_every_metric_of_the_kubelet_is_described_once_with_help_and_labels() -> None:
    found = metrics.descriptors()
    assert {descriptor.name for descriptor in found} == KUBELET
    assert Counter(descriptor.name for descriptor in found).most_common(1)[0][1] == 1
    for descriptor in found:
        assert descriptor.help
        assert list(descriptor.label_keys[:5]) == ["id", "image", "namespace", "pod", "container"]


def test_on_v1_all_but_pressure_has_values(tmp_path: Path) -> None:
    missing = {name for name in KUBELET if "network" not in name} - set(values(tmp_path, "v1"))
    assert missing == {name for name in KUBELET if "pressure" in name}


def test_on_v2_all_but_the_peak_of_huge_pages_has_values(tmp_path: Path) -> None:
    missing = {name for name in KUBELET if "network" not in name} - set(values(tmp_path, "v2"))
    assert missing == {"container_hugetlb_max_usage_bytes"}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_values_of_a_container(tmp_path: Path, version: str) -> None:
    found = values(tmp_path, version)
    expected = {
        "cpu_usage_seconds_total": {("total",): 2},
        "cpu_user_seconds_total": {(): 2},
        "cpu_system_seconds_total": {(): 0},
        "cpu_cfs_periods_total": {(): 28},
        "cpu_cfs_throttled_periods_total": {(): 4},
        "memory_usage_bytes": {(): 3477504},
        "memory_working_set_bytes": {(): 331776},
        "memory_max_usage_bytes": {(): 5173248},
        "memory_rss": {(): 61440},
        "memory_cache": {(): 3166208},
        "memory_mapped_file": {(): 4096},
        "memory_kernel_usage": {(): 249856},
        "memory_swap": {(): 8192},
        "memory_failcnt": {(): 12},
        "memory_failures_total": {
            ("pgfault", "container"): 1000 if version == "v1" else 1121,
            ("pgfault", "hierarchy"): 1121,
            ("pgmajfault", "container"): 1 if version == "v1" else 3,
            ("pgmajfault", "hierarchy"): 3,
        },
        "oom_events_total": {(): 1},
        "fs_usage_bytes": {("/dev/sda1",): 3170304},
        "fs_limit_bytes": {("/dev/sda1",): 1 << 30},
        "fs_inodes_total": {("/dev/sda1",): 65536},
        "fs_inodes_free": {("/dev/sda1",): 60000},
        "threads": {(): 5},
        "threads_max": {(): 0},
        "processes": {(): 3},
        "spec_cpu_period": {(): 100000},
        "spec_cpu_quota": {(): 20000},
        "spec_memory_limit_bytes": {(): 67108864},
        "start_time_seconds": {(): 1_700_000_000},
    }
    assert {name: found[f"container_{name}"] for name in expected} == expected
    assert set(found["container_hugetlb_usage_bytes"]) == {("1GB",), ("2MB",)}
    # The host may have this device under any name, or not have it.
    device = sample.device_name("254:0")
    assert found["container_fs_reads_total"] == {(device,): 3}
    assert found["container_fs_reads_bytes_total"] == {(device,): 12288}
    assert found["container_fs_writes_total"] == {(device,): 24}
    assert found["container_fs_writes_bytes_total"] == {(device,): 3145728}
    assert found["container_blkio_device_usage_total"] == {
        (device, "254", "0", "Read"): 12288,
        (device, "254", "0", "Write"): 3145728,
    }
    assert found["container_ulimits_soft"][("max_open_files",)] > 0


def test_pressure_in_seconds(tmp_path: Path) -> None:
    found = values(tmp_path, "v2")
    assert found["container_pressure_cpu_waiting_seconds_total"] == {(): 3}
    assert found["container_pressure_cpu_stalled_seconds_total"] == {(): 2}
    assert found["container_pressure_memory_waiting_seconds_total"] == {(): 0}


def test_a_container_without_limits(tmp_path: Path) -> None:
    write(tmp_path, V2)
    write(tmp_path, {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    cgroup = v2(tmp_path)
    taken = sample.take(cgroup, pid=os.getpid(), started_at=0, disk=None, file_system=FILE_SYSTEM)
    assert taken is not None
    message = api.ContainerMetrics()
    metrics.add_container(message, CONTAINER, SANDBOX.attributes.metadata, taken)
    found = {metric.name: metric.value.value for metric in message.metrics}
    assert found["container_spec_memory_limit_bytes"] == 0
    for name in ("container_spec_cpu_quota", "container_fs_usage_bytes", "container_start_time_seconds"):
        assert name not in found


def test_a_container_that_has_ended_has_no_sample(tmp_path: Path) -> None:
    gone = v2(tmp_path / "gone")
    assert sample.take(gone, pid=0, started_at=0, disk=None, file_system=FILE_SYSTEM) is None


def test_the_network_of_a_sandbox() -> None:
    interfaces = [Interface("eth0", 1, 2, 3, 4, 5, 6, 7, 8), Interface("net1", 0, 0, 0, 0, 0, 0, 0, 0)]
    message = api.PodSandboxMetrics()
    metrics.add_sandbox(message, SANDBOX, 1_700_000_000_000_000_000, interfaces)
    assert message.pod_sandbox_id == SANDBOX.id
    found = {(metric.name, metric.label_values[-1]): metric.value.value for metric in message.metrics}
    directions = {"receive": (1, 2, 3, 4), "transmit": (5, 6, 7, 8)}
    for direction, expected in directions.items():
        names = ("bytes", "packets", "errors", "packets_dropped")
        of_eth0 = tuple(found[f"container_network_{direction}_{name}_total", "eth0"] for name in names)
        assert of_eth0 == expected
    assert found["container_network_receive_bytes_total", "net1"] == 0
    assert found["container_last_seen", "POD"] == 1_700_000_000
    assert all(metric.label_values[4] == "POD" for metric in message.metrics)
