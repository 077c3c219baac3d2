"""Disks and network interfaces."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.cri import api
from podyard.stats.metrics import kinds
from podyard.stats.sample import Sample, device_name


def _disk_usage(sample: Sample) -> Iterator[kinds.Value]:
    if sample.disk is not None:
        yield sample.disk.bytes, (sample.file_system.device,)


def _device_usage(sample: Sample) -> Iterator[kinds.Value]:
    for one in sample.io:
        major, _, minor = one.device.partition(":")
        for operation, value in (("Read", one.read_bytes), ("Write", one.written_bytes)):
            yield value, (device_name(one.device), major, minor, operation)


DISK = (
    kinds.ContainerMetric(
        "container_fs_usage_bytes",
        "Size of the writable layer, in bytes.",
        api.GAUGE,
        _disk_usage,
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_fs_limit_bytes",
        "Size of the writable layer's file system, in bytes.",
        api.GAUGE,
        lambda sample: ((sample.file_system.size, (sample.file_system.device,)),),
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_fs_inodes_free",
        "Inodes that are free in the writable layer's file system.",
        api.GAUGE,
        lambda sample: ((sample.file_system.free_inodes, (sample.file_system.device,)),),
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_fs_inodes_total",
        "Inodes of the writable layer's file system.",
        api.GAUGE,
        lambda sample: ((sample.file_system.inodes, (sample.file_system.device,)),),
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_fs_reads_total", "Reads.", api.COUNTER, kinds.devices(lambda io: io.reads), ("device",)
    ),
    kinds.ContainerMetric(
        "container_fs_reads_bytes_total",
        "Bytes read.",
        api.COUNTER,
        kinds.devices(lambda io: io.read_bytes),
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_fs_writes_total", "Writes.", api.COUNTER, kinds.devices(lambda io: io.writes), ("device",)
    ),
    kinds.ContainerMetric(
        "container_fs_writes_bytes_total",
        "Bytes written.",
        api.COUNTER,
        kinds.devices(lambda io: io.written_bytes),
        ("device",),
    ),
    kinds.ContainerMetric(
        "container_blkio_device_usage_total",
        "Bytes that went through a block device.",
        api.COUNTER,
        _device_usage,
        ("device", "major", "minor", "operation"),
    ),
)

NETWORK: tuple[kinds.NetworkMetric, ...] = (
    kinds.NetworkMetric("container_network_receive_bytes_total", "Bytes received.", lambda one: one.rx_bytes),
    kinds.NetworkMetric("container_network_receive_packets_total", "Packets received.", lambda one: one.rx_packets),
    kinds.NetworkMetric(
        "container_network_receive_packets_dropped_total", "Received packets dropped.", lambda one: one.rx_dropped
    ),
    kinds.NetworkMetric("container_network_receive_errors_total", "Errors while receiving.", lambda one: one.rx_errors),
    kinds.NetworkMetric("container_network_transmit_bytes_total", "Bytes sent.", lambda one: one.tx_bytes),
    kinds.NetworkMetric("container_network_transmit_packets_total", "Packets sent.", lambda one: one.tx_packets),
    kinds.NetworkMetric(
        "container_network_transmit_packets_dropped_total", "Packets dropped on sending.", lambda one: one.tx_dropped
    ),
    kinds.NetworkMetric("container_network_transmit_errors_total", "Errors while sending.", lambda one: one.tx_errors),
)
