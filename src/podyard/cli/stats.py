"""``podyard stats``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.resolve import ContainerRef, Inventory
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import size

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api

Stats = TypeVar("Stats", "api.ContainerStats", "api.PodSandboxStats")

BETWEEN = 1.0
"""Seconds between two readings where the runtime gives no rate of CPU use."""

CLEAR = "\x1b[H\x1b[2J"
"""Makes a terminal empty (ECMA-48: cursor home, erase in page)."""


@dataclass(frozen=True)
class Wanted:
    """What the command line names: None for everything."""

    sandboxes: frozenset[str] | None
    containers: frozenset[str] | None


@click.command()
@click.argument("names", nargs=-1, metavar="[POD|CONTAINER]...")
@click.option("--pods", "-p", "of_pods", is_flag=True, help="Pods as a whole, with their network.")
@click.option("--watch", "-w", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    metavar="SECONDS",
    help="Time between two tables of --watch (default: 2).",
)
@output_options
@with_client
async def command(
    client: Client, settings: Settings, *, names: Sequence[str], of_pods: bool, watch: bool, interval: float
) -> None:
    """Show what running containers use, or Pods.

    CPU: thousandths of a processor (1000m: one is busy). MEMORY: what cannot be given back easily; LEFT: what is left
    of the limit. DISK: what was written outside of volumes.

    JSON and YAML: a list of the CRI's ContainerStats messages, with --pods of its PodSandboxStats messages.
    """
    show = _show_pods if of_pods else _show_containers
    while True:
        wanted = await _resolve(client, names)
        listing = await show(client, settings, wanted)
        if watch and settings.for_people and sys.stdout.isatty():
            print(CLEAR, end="")
        output.show(listing, settings)
        if not watch:
            return
        sys.stdout.flush()
        await asyncio.sleep(interval)


async def _resolve(client: Client, names: Sequence[str]) -> Wanted:
    if not names:
        return Wanted(None, None)
    inventory = await Inventory.load(client)
    sandboxes: set[str] = set()
    containers: set[str] = set()
    for name in names:
        found = inventory.any(name)
        if isinstance(found, ContainerRef):
            containers.add(found.container.id)
            sandboxes.add(found.container.pod_sandbox_id)
        else:
            sandboxes.add(found.sandbox.id)
            containers.update(container.id for container in inventory.of_sandbox(found.sandbox.id))
    return Wanted(frozenset(sandboxes), frozenset(containers))


async def _show_containers(client: Client, settings: Settings, wanted: Wanted) -> output.Listing:
    async def ask() -> list[api.ContainerStats]:
        stats = await client.runtime.list_container_stats()
        return [one for one in stats if wanted.containers is None or one.attributes.id in wanted.containers]

    found = await (_with_rates(ask, lambda stats: stats.cpu) if settings.for_people else ask())
    inventory = await Inventory.load(client)
    refs = {container.id: inventory.ref(container) for container in inventory.containers}
    # What went away between the two lists is not shown.
    there = [(refs[one.attributes.id], one) for one in found if one.attributes.id in refs]
    there.sort(key=lambda pair: pair[0].full_name)
    return output.Listing(
        columns=("CONTAINER", "POD", "NAMESPACE", "CPU", "MEMORY", "LEFT", "SWAP", "DISK", "INODES", "CONTAINER ID"),
        rows=[_container_row(ref, one, settings) for ref, one in there],
        ids=[one.attributes.id for _, one in there],
        names=[ref.full_name for ref, _ in there],
        data=lambda: [output.as_data(one) for _, one in there],
    )


def _container_row(ref: ContainerRef, stats: api.ContainerStats, settings: Settings) -> tuple[str, ...]:
    memory, layer = stats.memory, stats.writable_layer
    return (
        ref.container.metadata.name,
        ref.pod_name,
        ref.namespace,
        _cores(stats.cpu),
        _size(memory.working_set_bytes, memory.HasField("working_set_bytes")),
        _size(memory.available_bytes, memory.HasField("available_bytes")),
        _size(stats.swap.swap_usage_bytes, stats.swap.HasField("swap_usage_bytes")),
        _size(layer.used_bytes, layer.HasField("used_bytes")),
        str(layer.inodes_used.value) if layer.HasField("inodes_used") else "",
        output.short_id(stats.attributes.id, settings),
    )


async def _show_pods(client: Client, settings: Settings, wanted: Wanted) -> output.Listing:
    async def ask() -> list[api.PodSandboxStats]:
        stats = await client.runtime.list_pod_sandbox_stats()
        return [one for one in stats if wanted.sandboxes is None or one.attributes.id in wanted.sandboxes]

    found = await (_with_rates(ask, lambda stats: stats.linux.cpu) if settings.for_people else ask())
    found.sort(key=lambda one: (one.attributes.metadata.namespace, one.attributes.metadata.name))
    return output.Listing(
        columns=("NAME", "NAMESPACE", "CPU", "MEMORY", "LEFT", "PROCESSES", "RECEIVED", "SENT", "POD ID"),
        rows=[_pod_row(one, settings) for one in found],
        ids=[one.attributes.id for one in found],
        names=[f"{one.attributes.metadata.namespace}/{one.attributes.metadata.name}" for one in found],
        data=lambda: [output.as_data(one) for one in found],
    )


def _pod_row(stats: api.PodSandboxStats, settings: Settings) -> tuple[str, ...]:
    linux, name = stats.linux, stats.attributes.metadata
    memory, network = linux.memory, linux.network
    interfaces = [network.default_interface, *network.interfaces]
    return (
        name.name,
        name.namespace,
        _cores(linux.cpu),
        _size(memory.working_set_bytes, memory.HasField("working_set_bytes")),
        _size(memory.available_bytes, memory.HasField("available_bytes")),
        str(linux.process.process_count.value) if linux.process.HasField("process_count") else "",
        _total((one.rx_bytes for one in interfaces), linux.HasField("network")),
        _total((one.tx_bytes for one in interfaces), linux.HasField("network")),
        output.short_id(stats.attributes.id, settings),
    )


async def _with_rates(
    ask: Callable[[], Awaitable[list[Stats]]], cpu_of: Callable[[Stats], api.CpuUsage]
) -> list[Stats]:
    """What ``ask`` gives, with rates of CPU use from a second reading where the runtime gives none."""
    found = await ask()
    earlier = {one.attributes.id: cpu_of(one) for one in found if not cpu_of(one).HasField("usage_nano_cores")}
    if not earlier:
        return found
    await asyncio.sleep(BETWEEN)
    found = await ask()
    for one in found:
        before, cpu = earlier.get(one.attributes.id), cpu_of(one)
        if before is not None and before.timestamp < cpu.timestamp and not cpu.HasField("usage_nano_cores"):
            used = max(0, cpu.usage_core_nano_seconds.value - before.usage_core_nano_seconds.value)
            cpu.usage_nano_cores.value = used * 1_000_000_000 // (cpu.timestamp - before.timestamp)
    return found


def _cores(cpu: api.CpuUsage) -> str:
    return f"{round(cpu.usage_nano_cores.value / 1_000_000)}m" if cpu.HasField("usage_nano_cores") else ""


def _size(value: api.UInt64Value, is_set: bool) -> str:
    return size(value.value) if is_set else ""


def _total(values: Iterable[api.UInt64Value], is_set: bool) -> str:
    return size(sum(value.value for value in values)) if is_set else ""
