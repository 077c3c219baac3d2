"""``/stats/summary`` and ``/metrics/resource``: usage as the kubelet's clients read it. Pure functions.

Sources: the kubelet's stats/v1alpha1 types; its resource metrics (Kubernetes documentation, "Node metrics data").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podyard.cri import api
from podyard.model.metric import Metric
from podyard.node.disks import Measured, PodDisk
from podyard.node.filesystem import FileSystem
from podyard.node.times import rfc3339
from podyard.node.usage import Interface, Usage
from podyard.pods import ContainerView, PodView

_SECOND = 10**9


def summary(usage: Usage, views: Sequence[PodView], disks: Mapping[str, PodDisk], node: str) -> dict[str, Any]:
    """A Summary. ``views``: the node's Pods; what the runtime tells of others is left out. ``disks``: by uid, what is
    known of their volumes and logs."""
    machine, at = usage.machine, rfc3339(usage.machine.time)
    known = {view.uid: view for view in views}
    pods = [
        _pod(one, known[uid], disks.get(uid), usage.node_fs)
        for one in _told(usage, known)
        if (uid := one.attributes.metadata.uid)
    ]
    images = {} if usage.image_fs is None else {**_disk(usage.image_fs, at), "usedBytes": usage.image_bytes}
    return {
        "node": {
            "nodeName": node,
            "startTime": rfc3339(machine.started),
            "cpu": {"time": at, "usageCoreNanoSeconds": machine.cpu}
            | ({} if usage.cpu_rate is None else {"usageNanoCores": usage.cpu_rate}),
            "memory": {
                "time": at,
                "availableBytes": machine.memory_total - machine.working_set,
                "usageBytes": machine.memory_used,
                "workingSetBytes": machine.working_set,
            },
            "swap": {"time": at, "swapUsageBytes": machine.swap_used},
            **_network(usage.interfaces, at),
            "fs": _disk(usage.node_fs, at),
            "runtime": {"imageFs": images},
        },
        "pods": pods,
    }


def resource_metrics(usage: Usage, views: Sequence[PodView]) -> Iterator[Metric]:
    """What metrics-server, and so kubectl top and autoscalers, ask for; each kind in one row."""
    machine = usage.machine
    now = round(machine.time * 1000)
    known = {view.uid: view for view in views}
    pods = [(one, known[one.attributes.metadata.uid]) for one in _told(usage, known)]
    containers = [
        (stats, view, found)
        for pod, view in pods
        for stats in pod.linux.containers
        if (found := _view_of(stats, view)) is not None
    ]
    yield from _of_containers(containers)
    yield _cpu("node_cpu_usage_seconds_total", "Processor time of the machine.", machine.cpu, now)
    yield _memory("node_memory_working_set_bytes", "Memory of the machine in use.", machine.working_set, now)
    for pod, view in pods:
        if pod.linux.HasField("cpu"):
            stamp = pod.linux.cpu.timestamp // 10**6
            used = pod.linux.cpu.usage_core_nano_seconds.value
            yield _cpu("pod_cpu_usage_seconds_total", "Processor time of a Pod.", used, stamp, *_labels(view))
    for pod, view in pods:
        if pod.linux.HasField("memory"):
            stamp = pod.linux.memory.timestamp // 10**6
            used = pod.linux.memory.working_set_bytes.value
            yield _memory("pod_memory_working_set_bytes", "Memory of a Pod in use.", used, stamp, *_labels(view))
    yield _memory("node_swap_usage_bytes", "Swap of the machine in use.", machine.swap_used, now)
    yield Metric("resource_scrape_error", "gauge", "1 if nothing is known of the Pods.", float(bool(usage.failure)))


def _of_containers(found: Sequence[tuple[api.ContainerStats, PodView, ContainerView]]) -> Iterator[Metric]:
    for stats, pod, one in found:
        if stats.HasField("cpu"):
            used, stamp = stats.cpu.usage_core_nano_seconds.value, stats.cpu.timestamp // 10**6
            text = "Processor time of a container."
            yield _cpu("container_cpu_usage_seconds_total", text, used, stamp, *_labels(pod, one.name))
    for stats, pod, one in found:
        if stats.HasField("memory"):
            used, stamp = stats.memory.working_set_bytes.value, stats.memory.timestamp // 10**6
            text = "Memory of a container in use."
            yield _memory("container_memory_working_set_bytes", text, used, stamp, *_labels(pod, one.name))
    for stats, pod, one in found:
        if stats.HasField("swap"):
            used, stamp = stats.swap.swap_usage_bytes.value, stats.swap.timestamp // 10**6
            text = "Swap of a container in use."
            yield _memory("container_swap_usage_bytes", text, used, stamp, *_labels(pod, one.name))
    for _, pod, one in found:
        text = "When a container was started, in seconds since 1970."
        yield Metric("container_start_time_seconds", "gauge", text, one.started_at / _SECOND, _labels(pod, one.name))


def _told(usage: Usage, known: Mapping[str, PodView]) -> list[api.PodSandboxStats]:
    """The statistics of the node's Pods; of a Pod with several sandboxes the newest's."""
    return [
        one
        for one in usage.pods
        if (view := known.get(one.attributes.metadata.uid)) is not None and one.attributes.id in ("", view.sandbox_id)
    ]


def _network(interfaces: Sequence[Interface], at: str) -> dict[str, Any]:
    """The interface of the default route, and all of them."""
    told = [
        {
            "name": one.name,
            "rxBytes": one.rx_bytes,
            "rxErrors": one.rx_errors,
            "txBytes": one.tx_bytes,
            "txErrors": one.tx_errors,
        }
        for one in sorted(interfaces, key=lambda one: not one.default)
    ]
    default = told[0] if interfaces and any(one.default for one in interfaces) else {}
    return {"network": {"time": at, **default, "interfaces": told}} if told else {}


def _pod(stats: api.PodSandboxStats, view: PodView, disk: PodDisk | None, node_fs: FileSystem) -> dict[str, Any]:
    linux = stats.linux
    found: dict[str, Any] = {
        "podRef": {"name": view.name, "namespace": view.namespace, "uid": view.uid},
        "startTime": rfc3339(view.created_at / _SECOND),
        "containers": [
            _container(one, seen, disk) for one in linux.containers if (seen := _view_of(one, view)) is not None
        ],
        **_used(linux),
    }
    if linux.HasField("network"):
        network = linux.network
        found["network"] = {
            "time": rfc3339(network.timestamp / _SECOND),
            **_interface(network.default_interface),
            "interfaces": [_interface(one) for one in (network.default_interface, *network.interfaces)],
        }
    if linux.HasField("process"):
        found["process_stats"] = {"process_count": linux.process.process_count.value}
    if disk is not None:
        at = rfc3339(disk.time)
        found["volume"] = [{**_measured(one, at), "name": name} for name, one in disk.volumes.items()]
        found["ephemeral-storage"] = _ephemeral(linux, disk, node_fs)
    return found


def _ephemeral(linux: api.LinuxPodSandboxStats, disk: PodDisk, node_fs: FileSystem) -> dict[str, Any]:
    """What the Pod takes of the node's disk: writable layers, logs, and volumes but for those in memory."""
    there = [one.used for one in (*disk.volumes.values(), *disk.logs.values()) if _is_on(one, node_fs)]
    layers = [one.writable_layer for one in linux.containers]
    size = sum(one.size for one in there) + sum(one.used_bytes.value for one in layers)
    inodes = sum(one.inodes for one in there) + sum(one.inodes_used.value for one in layers)
    return {**_disk(node_fs, rfc3339(disk.time)), "usedBytes": size, "inodesUsed": inodes}


def _is_on(one: Measured, node_fs: FileSystem) -> bool:
    return one.file_system.device == node_fs.device


def _measured(one: Measured, at: str) -> dict[str, Any]:
    return {**_disk(one.file_system, at), "usedBytes": one.used.size, "inodesUsed": one.used.inodes}


def _container(stats: api.ContainerStats, view: ContainerView, disk: PodDisk | None) -> dict[str, Any]:
    found = {"name": view.name, "startTime": rfc3339(view.started_at / _SECOND), **_used(stats)}
    if stats.HasField("swap"):
        found["swap"] = _present(
            stats.swap, {"swapUsageBytes": "swap_usage_bytes", "swapAvailableBytes": "swap_available_bytes"}
        )
    if stats.HasField("writable_layer"):
        found["rootfs"] = _present(stats.writable_layer, {"usedBytes": "used_bytes", "inodesUsed": "inodes_used"})
    if disk is not None and view.name in disk.logs:
        found["logs"] = _measured(disk.logs[view.name], rfc3339(disk.time))
    return found


def _used(stats: api.ContainerStats | api.LinuxPodSandboxStats) -> dict[str, Any]:
    found = {}
    if stats.HasField("cpu"):
        found["cpu"] = _present(
            stats.cpu, {"usageNanoCores": "usage_nano_cores", "usageCoreNanoSeconds": "usage_core_nano_seconds"}
        )
    if stats.HasField("memory"):
        found["memory"] = _present(
            stats.memory,
            {
                "availableBytes": "available_bytes",
                "usageBytes": "usage_bytes",
                "workingSetBytes": "working_set_bytes",
                "rssBytes": "rss_bytes",
                "pageFaults": "page_faults",
                "majorPageFaults": "major_page_faults",
            },
        )
    return found


def _present(message: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """What was measured, by its names in the Summary."""
    found = {told: getattr(message, name).value for told, name in names.items() if message.HasField(name)}
    return {"time": rfc3339(message.timestamp / _SECOND), **found}


def _interface(found: api.NetworkInterfaceUsage) -> dict[str, Any]:
    return {
        "name": found.name,
        "rxBytes": found.rx_bytes.value,
        "rxErrors": found.rx_errors.value,
        "txBytes": found.tx_bytes.value,
        "txErrors": found.tx_errors.value,
    }


def _disk(found: FileSystem, at: str) -> dict[str, Any]:
    return {
        "time": at,
        "capacityBytes": found.capacity,
        "availableBytes": found.available,
        "usedBytes": found.capacity - found.available,
        "inodes": found.inodes,
        "inodesFree": found.inodes_free,
        "inodesUsed": found.inodes - found.inodes_free,
    }


def _view_of(stats: api.ContainerStats, pod: PodView) -> ContainerView | None:
    """Whose statistics they are; None for a container that has ended."""
    return next((one for one in pod.containers if one.id == stats.attributes.id and one.state == "running"), None)


def _labels(pod: PodView, container: str = "") -> tuple[tuple[str, str], ...]:
    first = (("container", container),) if container else ()
    return (*first, ("namespace", pod.namespace), ("pod", pod.name))


def _cpu(name: str, text: str, used: int, at: int, *labels: tuple[str, str]) -> Metric:
    return Metric(name, "counter", f"{text[:-1]}, in seconds.", used / _SECOND, labels, at)


def _memory(name: str, text: str, used: int, at: int, *labels: tuple[str, str]) -> Metric:
    return Metric(name, "gauge", f"{text[:-1]}, in bytes.", float(used), labels, at)
