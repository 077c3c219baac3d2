"""Readings as the messages of the CRI. What was not measured is left unset there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from podyard.cri import api
from podyard.stats.readings import Reading
from podyard.stats.targets import ContainerTarget, SandboxTarget
from podyard.stats.usage import Disk, Interface, Pressure, Stall


@dataclass(frozen=True, kw_only=True)
class SandboxReading:
    """A sandbox: as a whole, its network, its processes, and its containers as messages."""

    whole: Reading
    interfaces: Sequence[Interface]
    processes: int
    containers: Sequence[api.ContainerStats]


def container_stats(
    target: ContainerTarget, reading: Reading | None, disk: Disk | None, mountpoint: str
) -> api.ContainerStats:
    """A container; ``reading`` is None once it has ended. ``mountpoint``: a directory on its layer's file system."""
    stats = api.ContainerStats(attributes=target.attributes)
    if reading is not None:
        _add(stats, reading)
        if reading.memory is not None and reading.memory.swap is not None:
            stats.swap.CopyFrom(
                api.SwapUsage(
                    timestamp=reading.timestamp,
                    swap_usage_bytes=_number(reading.memory.swap),
                    swap_available_bytes=_number(reading.memory.swap_available),
                )
            )
    if disk is not None:
        stats.writable_layer.CopyFrom(
            api.FilesystemUsage(
                timestamp=disk.timestamp,
                fs_id=api.FilesystemIdentifier(mountpoint=mountpoint),
                used_bytes=_number(disk.bytes),
                inodes_used=_number(disk.inodes),
            )
        )
    return stats


def sandbox_stats(target: SandboxTarget, reading: SandboxReading | None, ifname: str) -> api.PodSandboxStats:
    """A sandbox; ``reading`` is None once it was stopped. ``ifname``: its interface to the outside."""
    stats = api.PodSandboxStats(attributes=target.attributes)
    if reading is None:
        return stats
    _add(stats.linux, reading.whole)
    stats.linux.process.CopyFrom(
        api.ProcessUsage(timestamp=reading.whole.timestamp, process_count=_number(reading.processes))
    )
    if reading.interfaces:
        stats.linux.network.CopyFrom(_network(reading.interfaces, ifname))
    stats.linux.containers.extend(reading.containers)
    return stats


def _add(stats: api.ContainerStats | api.LinuxPodSandboxStats, reading: Reading) -> None:
    if reading.cpu is not None:
        stats.cpu.CopyFrom(
            api.CpuUsage(
                timestamp=reading.timestamp,
                usage_core_nano_seconds=_number(reading.cpu),
                usage_nano_cores=_number(reading.rate),
                psi=_psi(reading.pressure["cpu"]),
            )
        )
    memory = reading.memory
    if memory is not None:
        stats.memory.CopyFrom(
            api.MemoryUsage(
                timestamp=reading.timestamp,
                working_set_bytes=_number(memory.working_set),
                available_bytes=_number(memory.available),
                usage_bytes=_number(memory.usage),
                rss_bytes=_number(memory.rss),
                page_faults=_number(memory.page_faults),
                major_page_faults=_number(memory.major_page_faults),
                psi=_psi(reading.pressure["memory"]),
            )
        )
    if reading.pressure["io"] is not None:
        stats.io.CopyFrom(api.IoUsage(timestamp=reading.timestamp, psi=_psi(reading.pressure["io"])))


def _network(interfaces: Sequence[Interface], ifname: str) -> api.NetworkUsage:
    usage = api.NetworkUsage(timestamp=time.time_ns())
    for one in interfaces:
        message = api.NetworkInterfaceUsage(
            name=one.name,
            rx_bytes=_number(one.rx_bytes),
            rx_errors=_number(one.rx_errors),
            tx_bytes=_number(one.tx_bytes),
            tx_errors=_number(one.tx_errors),
        )
        if one.name == ifname:
            usage.default_interface.CopyFrom(message)
        else:
            usage.interfaces.append(message)
    return usage


def _psi(pressure: Pressure | None) -> api.PsiStats | None:
    return None if pressure is None else api.PsiStats(Full=_stall(pressure.full), Some=_stall(pressure.some))


def _stall(stall: Stall) -> api.PsiData:
    return api.PsiData(Total=stall.total, Avg10=stall.avg10, Avg60=stall.avg60, Avg300=stall.avg300)


def _number(value: int | None) -> api.UInt64Value | None:
    return None if value is None else api.UInt64Value(value=value)
