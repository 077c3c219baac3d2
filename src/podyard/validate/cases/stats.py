"""What containers and sandboxes use: statistics and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from podyard.cri import api
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, contains, equal, holds, lacks, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import limits, namespaces, pod_security, security

PATIENCE = 25.0
"""Seconds until a figure must be there: runtimes measure now and then."""

BUSY = ["sh", "-c", "while :; do :; done"]


Measured = TypeVar("Measured")


async def _eventually(
    measure: Callable[[], Awaitable[Measured]], there: Callable[[Measured], object], what: str
) -> Measured:
    """Measure until ``there`` holds for what is measured. Raises Unmet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        measured = await measure()
        if there(measured):
            return measured
        if time.monotonic() > deadline:
            raise Unmet(f"{what} within {PATIENCE:g} s", str(measured).replace("\n", " "))
        await asyncio.sleep(0.2)


async def _of(
    kit: Kit, container_id: str, there: Callable[[api.ContainerStats], object], what: str
) -> api.ContainerStats:
    return await _eventually(lambda: kit.runtime.container_stats(container_id), there, what)


@case("container stats", "they name the container")
async def _(kit: Kit) -> None:
    container_id = await kit.idle(annotations={"a": "1"})
    stats = await kit.runtime.container_stats(container_id)
    status = await kit.status(container_id)
    equal((stats.attributes.id, stats.attributes.metadata), (container_id, status.metadata), "id and metadata")
    equal(dict(stats.attributes.labels), dict(status.labels), "labels")
    equal(dict(stats.attributes.annotations), {"a": "1"}, "annotations")


@case("container stats", "processor time is measured, and grows")
async def _(kit: Kit) -> None:
    container_id = await kit.start(BUSY)
    first = await _of(
        kit, container_id, lambda stats: stats.cpu.usage_core_nano_seconds.value > 0, "processor time above 0"
    )
    before = first.cpu.usage_core_nano_seconds.value
    await _of(kit, container_id, lambda stats: stats.cpu.usage_core_nano_seconds.value > before, "more processor time")


@case("container stats", "the rate of a busy container is what its quota allows, or less", alone=True, limit=90)
async def _(kit: Kit) -> None:
    linux = limits(cpu_period=100000, cpu_quota=20000)
    container_id = await kit.start(BUSY, linux=linux)
    stats = await _of(kit, container_id, lambda stats: stats.cpu.usage_nano_cores.value > 0, "usage_nano_cores above 0")
    rate = stats.cpu.usage_nano_cores.value
    holds(rate < 400_000_000, "less than 0.4 processors where 0.2 are allowed (in nanocores)", rate)


@case("container stats", "memory is measured")
async def _(kit: Kit) -> None:
    stats = await _of(
        kit, await kit.idle(), lambda stats: stats.memory.working_set_bytes.value > 0, "working_set_bytes above 0"
    )
    holds(stats.memory.timestamp > 0, "timestamp above 0", stats.memory.timestamp)


@case("container stats", "memory that is still available is the limit less the working set")
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=limits(memory_limit_in_bytes=64 << 20))
    stats = await _of(
        kit, container_id, lambda stats: stats.memory.working_set_bytes.value > 0, "working_set_bytes above 0"
    )
    if not stats.memory.HasField("available_bytes"):
        skip("the endpoint does not tell available_bytes")
    total = stats.memory.available_bytes.value + stats.memory.working_set_bytes.value
    equal(total, 64 << 20, "available_bytes and working_set_bytes together")


@table(
    "container stats",
    {
        "memory: usage": ("usage_bytes",),
        "memory: resident": ("rss_bytes",),
        "memory: page faults": ("page_faults",),
    },
)
async def _(kit: Kit, field: str) -> None:
    container_id = await kit.idle()
    stats = await kit.runtime.container_stats(container_id)
    if not stats.memory.HasField(field):  # type: ignore[arg-type]
        skip(f"the endpoint does not tell memory.{field}")
    holds(getattr(stats.memory, field).value > 0, f"{field} above 0", stats.memory)


@case("container stats", "page faults that had to wait for a disk are among all page faults")
async def _(kit: Kit) -> None:
    memory = (await kit.runtime.container_stats(await kit.idle())).memory
    if not memory.HasField("major_page_faults"):
        skip("the endpoint does not tell memory.major_page_faults")
    holds(memory.major_page_faults.value <= memory.page_faults.value, "no more than page_faults", memory)


@case("container stats", "swap that is used and swap that is available are what the container may use")
async def _(kit: Kit) -> None:
    linux = limits(memory_limit_in_bytes=64 << 20, memory_swap_limit_in_bytes=96 << 20)
    swap = (await kit.runtime.container_stats(await kit.idle(linux=linux))).swap
    if not swap.HasField("swap_available_bytes"):
        skip("the endpoint does not tell swap.swap_available_bytes")
    equal(swap.swap_usage_bytes.value + swap.swap_available_bytes.value, 32 << 20, "both together")
    holds(swap.timestamp > 0, "timestamp above 0", swap)


@table("container stats", {f"pressure: {part}": (part,) for part in ("cpu", "memory", "io")})
async def _(kit: Kit, part: str) -> None:
    stats = await kit.runtime.container_stats(await kit.start(BUSY))
    usage = getattr(stats, part)
    if not usage.HasField("psi"):
        skip(f"the endpoint does not tell {part}.psi")
    some, full = usage.psi.Some, usage.psi.Full
    holds(some.Total >= full.Total, "Some, of any task, not below Full, of all of them", usage.psi)
    shares = [share for data in (some, full) for share in (data.Avg10, data.Avg60, data.Avg300)]
    holds(all(0 <= share <= 100 for share in shares), "averages from 0 to 100 percent", usage.psi)
    holds(usage.timestamp > 0, "timestamp above 0", usage)


@case("container stats", "what the container writes is counted", limit=90)
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    await kit.exec(container_id, "dd", "if=/dev/urandom", "of=/file", "bs=1M", "count=3")
    stats = await _of(
        kit, container_id, lambda stats: stats.writable_layer.used_bytes.value >= 3 << 20, "used_bytes of 3 MiB"
    )
    holds(stats.writable_layer.inodes_used.value > 0, "inodes_used above 0", stats.writable_layer)
    holds(stats.writable_layer.fs_id.mountpoint.startswith("/"), "a mountpoint", stats.writable_layer)


@case("container stats", "an exited container is not in the list")
async def _(kit: Kit) -> None:
    ended = await kit.start(["true"])
    await kit.ended(ended)
    running = await kit.idle()
    ids = [stats.attributes.id for stats in await kit.runtime.list_container_stats()]
    contains(ids, running, "ids in the list")
    lacks(ids, ended, "ids in the list")


async def _pair(kit: Kit) -> dict[str, str]:
    one, two = await kit.sandbox(labels={"s": "1"}), await kit.sandbox(labels={"s": "2"})
    first, second = await kit.idle(one, labels={"n": "1"}), await kit.idle(two, labels={"n": "2"})
    return {"one": one, "two": two, "first": first, "second": second}


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "an id": ({"id": "first"}, {"first"}),
    "a sandbox": ({"pod_sandbox_id": "two"}, {"second"}),
    "a label": ({"label_selector": {"n": "1"}}, {"first"}),
    "an id in another sandbox": ({"id": "first", "pod_sandbox_id": "two"}, set()),
    "nothing": ({}, {"first", "second"}),
}


@table("container stats", {f"the list takes a filter: {name}": row for name, row in FILTERS.items()})
async def _(kit: Kit, fields: dict[str, Any], expected: set[str]) -> None:
    made = await kit.session.once("stats filters", lambda: _pair(kit.lasting()))
    wanted: dict[str, Any] = {key: made[text] if isinstance(text, str) else text for key, text in fields.items()}
    ids = {stats.attributes.id for stats in await kit.runtime.list_container_stats(api.ContainerStatsFilter(**wanted))}
    equal({name for name in ("first", "second") if made[name] in ids}, expected, "containers in the list")


@case("container stats", "the list comes over a stream as well", needs="the call StreamContainerStats")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    request = api.StreamContainerStatsRequest(filter=api.ContainerStatsFilter(id=container_id))
    parts = [part async for part in kit.runtime.stream("StreamContainerStats", request)]
    equal([entry.attributes.id for part in parts for entry in part.container_stats], [container_id], "ids")


POD_STATS = "the call PodSandboxStats"


@case("sandbox stats", "they name the sandbox", needs=POD_STATS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(annotations={"a": "1"})
    stats, status = await kit.runtime.pod_sandbox_stats(sandbox_id), await kit.pod_status(sandbox_id)
    equal((stats.attributes.id, stats.attributes.metadata), (sandbox_id, status.metadata), "id and metadata")
    equal(dict(stats.attributes.labels), dict(status.labels), "labels")
    equal(dict(stats.attributes.annotations), {"a": "1"}, "annotations")


@case("sandbox stats", "they have its containers", needs=POD_STATS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    stats = await kit.runtime.pod_sandbox_stats(sandbox_id)
    equal([entry.attributes.id for entry in stats.linux.containers], [container_id], "containers")


@case("sandbox stats", "processor time, memory and processes are those of its containers at least", needs=POD_STATS)
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.start(BUSY, sandbox_id)

    async def figures() -> dict[str, int]:
        linux = (await kit.runtime.pod_sandbox_stats(sandbox_id)).linux
        return {
            "cpu": linux.cpu.usage_core_nano_seconds.value,
            "memory": linux.memory.working_set_bytes.value,
            "processes": linux.process.process_count.value,
        }

    await _eventually(figures, lambda measured: all(measured.values()), "figures above 0")


@table(
    "sandbox stats",
    {
        "traffic of its interface is counted": ("tx_bytes",),
        "traffic to its interface is counted": ("rx_bytes",),
    },
    needs=POD_STATS,
)
async def _(kit: Kit, field: str) -> None:
    sandbox_id = await kit.sandbox()
    before = (await kit.runtime.pod_sandbox_stats(sandbox_id)).linux.network
    if not before.default_interface.name:
        skip("the endpoint does not tell a default interface")
    gateway = "$(ip route | awk '/default/ {print $3}')"
    await kit.shell(f"ping -c 3 -i 0.1 -w 5 {gateway} > /dev/null || true", sandbox_id)

    async def counted() -> int:
        network = (await kit.runtime.pod_sandbox_stats(sandbox_id)).linux.network
        return int(getattr(network.default_interface, field).value)

    count_before = getattr(before.default_interface, field).value
    await _eventually(counted, lambda count: count > count_before, f"more {field} than {count_before}, after packets")


@case("sandbox stats", "each interface is told once, the default one apart, without errors", needs=POD_STATS)
async def _(kit: Kit) -> None:
    network = (await kit.runtime.pod_sandbox_stats(await kit.sandbox())).linux.network
    if not network.default_interface.name:
        skip("the endpoint does not tell a default interface")
    told = [network.default_interface, *network.interfaces]
    names = [interface.name for interface in told]
    equal(sorted(names), sorted(set(names)), "interfaces")
    errors = {interface.name: (interface.rx_errors.value, interface.tx_errors.value) for interface in told}
    equal(errors, dict.fromkeys(names, (0, 0)), "rx_errors and tx_errors of new interfaces")
    holds(network.timestamp > 0, "timestamp above 0", network)


@case("sandbox stats", "a sandbox on the host's network tells no traffic of its own", needs=POD_STATS)
async def _(kit: Kit) -> None:
    options = namespaces(network=api.NODE)
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=options), hostname="")
    await kit.idle(sandbox_id, linux=security(namespace_options=options))
    stats = await kit.runtime.pod_sandbox_stats(sandbox_id)
    equal(stats.linux.network.default_interface.name, "", "default_interface")


POD_FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "an id": ({"id": "one"}, {"one"}),
    "a label": ({"label_selector": {"s": "2"}}, {"two"}),
    "an id and a label that does not fit": ({"id": "one", "label_selector": {"s": "2"}}, set()),
    "nothing": ({}, {"one", "two"}),
}


@table(
    "sandbox stats",
    {f"the list takes a filter: {name}": row for name, row in POD_FILTERS.items()},
    needs="the call ListPodSandboxStats",
)
async def _(kit: Kit, fields: dict[str, Any], expected: set[str]) -> None:
    made = await kit.session.once("stats filters", lambda: _pair(kit.lasting()))
    wanted: dict[str, Any] = {key: made[text] if isinstance(text, str) else text for key, text in fields.items()}
    found = await kit.runtime.list_pod_sandbox_stats(api.PodSandboxStatsFilter(**wanted))
    ids = {stats.attributes.id for stats in found}
    equal({name for name in ("one", "two") if made[name] in ids}, expected, "sandboxes in the list")


@case("sandbox stats", "the list comes over a stream as well", needs="the call StreamPodSandboxStats")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    request = api.StreamPodSandboxStatsRequest(filter=api.PodSandboxStatsFilter(id=sandbox_id))
    parts = [part async for part in kit.runtime.stream("StreamPodSandboxStats", request)]
    equal([entry.attributes.id for part in parts for entry in part.pod_sandbox_stats], [sandbox_id], "ids")


METRICS = "the calls ListMetricDescriptors and ListPodSandboxMetrics"


@case("metrics", "each metric is described once, with help and labels", needs=METRICS)
async def _(kit: Kit) -> None:
    described = await kit.runtime.list_metric_descriptors()
    names = [entry.name for entry in described]
    equal(sorted(names), sorted(set(names)), "names")
    equal([entry.name for entry in described if not entry.help], [], "metrics without help")


@case("metrics", "those that dashboards need are there", needs=METRICS)
async def _(kit: Kit) -> None:
    names = [entry.name for entry in await kit.runtime.list_metric_descriptors()]
    for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_last_seen"):
        contains(names, name, "names")


@case("metrics", "every value belongs to a descriptor, and has a value for each of its labels", needs=METRICS)
async def _(kit: Kit) -> None:
    labels = {entry.name: len(entry.label_keys) for entry in await kit.runtime.list_metric_descriptors()}
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    listed = {entry.pod_sandbox_id: entry for entry in await kit.runtime.list_pod_sandbox_metrics()}
    contains(listed, sandbox_id, "sandboxes with metrics")
    found = listed[sandbox_id]
    values = [*found.metrics, *(value for entry in found.container_metrics for value in entry.metrics)]
    holds(values, "some values", values)
    equal({value.name for value in values} - set(labels), set(), "names without a descriptor")
    odd = {value.name for value in values if len(value.label_values) != labels[value.name]}
    equal(odd, set(), "metrics with another number of labels than their descriptor")
    equal([entry.container_id for entry in found.container_metrics], [container_id], "containers with metrics")


@case("metrics", "every value is there, has the kind that its name has elsewhere, and no time to come", needs=METRICS)
async def _(kit: Kit) -> None:
    container_id = await kit.idle(await kit.sandbox())
    found = await kit.runtime.list_pod_sandbox_metrics()
    own = [entry for pod in found for entry in pod.container_metrics if entry.container_id == container_id]
    values = [value for entry in own for value in entry.metrics]
    equal([value.name for value in values if not value.HasField("value")], [], "metrics without a value")
    kinds = {value.name: value.metric_type for value in values}
    for name, kind in {
        "container_cpu_usage_seconds_total": api.COUNTER,
        "container_memory_working_set_bytes": api.GAUGE,
    }.items():
        contains(kinds, name, "metrics of the container")
        equal(api.MetricType.Name(kinds[name]), api.MetricType.Name(kind), f"metric_type of {name}")
    # 0: measured when it was asked for.
    late = {value.name: value.timestamp for value in values if not 0 <= value.timestamp <= time.time_ns()}
    equal(late, {}, "timestamps that are not of the past")


@case("metrics", "they come over a stream as well", needs="the call StreamPodSandboxMetrics")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    parts = [part async for part in kit.runtime.stream("StreamPodSandboxMetrics", api.StreamPodSandboxMetricsRequest())]
    contains([entry.pod_sandbox_id for part in parts for entry in part.pod_sandbox_metrics], sandbox_id, "sandboxes")
