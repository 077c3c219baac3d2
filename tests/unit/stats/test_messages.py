"""Readings as messages of the CRI."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.stats.recorded import V1, V2, v1, v2, write

from podyard.cri import api
from podyard.stats import messages, readings
from podyard.stats.cgroup_v1 import CgroupV1
from podyard.stats.cgroup_v2 import CgroupV2
from podyard.stats.rates import Rates
from podyard.stats.readings import Reading
from podyard.stats.targets import ContainerTarget, SandboxTarget
from podyard.stats.usage import Disk, Interface

CONTAINER = ContainerTarget(
    id="c" * 64,
    attributes=api.ContainerAttributes(
        id="c" * 64, metadata=api.ContainerMetadata(name="main"), labels={"a": "b"}, annotations={"c": "d"}
    ),
    image="registry.example/app:1",
    cgroup="/pods/1/c",
    pid=12,
    started_at=1_700_000_000_000_000_000,
    writable=Path("/nowhere"),
)
SANDBOX = SandboxTarget(
    id="5" * 64,
    attributes=api.PodSandboxAttributes(
        id="5" * 64, metadata=api.PodSandboxMetadata(name="web", namespace="default", uid="u")
    ),
    ready=True,
    cgroup="/pods/1",
    infra_cgroup="",
    network=None,
    containers=(CONTAINER,),
)
DISK = Disk(3170304, 10, 1_700_000_000_000_000_001)


def reading(cgroup: CgroupV1 | CgroupV2) -> Reading:
    rates = Rates()
    rates.rate("/a", 0, 0)
    return readings.take(cgroup, "/a", rates)


def fields(message: object) -> set[str]:
    """The fields that are set, those of messages inside included, as paths."""
    found = set()
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        found.add(field.name)
        if field.message_type is not None and not field.is_repeated and not field.message_type.name.endswith("Value"):
            found |= {f"{field.name}.{name}" for name in fields(value)}
    return found


def every_field(descriptor: object, without: set[str]) -> set[str]:
    found = set()
    for field in descriptor.fields:  # type: ignore[attr-defined]
        if field.name in without:
            continue
        found.add(field.name)
        if field.message_type is not None and not field.is_repeated and not field.message_type.name.endswith("Value"):
            found |= {f"{field.name}.{name}" for name in every_field(field.message_type, without)}
    return found


def test_on_v2_every_field_of_a_container_is_set(tmp_path: Path) -> None:
    write(tmp_path, V2)
    text = "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\nfull avg10=5.00 avg60=6.00 avg300=7.00 total=8\n"
    write(tmp_path, {f"{resource}.pressure": text for resource in readings.RESOURCES})
    stats = messages.container_stats(CONTAINER, reading(v2(tmp_path)), DISK, "/images")
    # The attempt of the recorded container is 0, which is not told from unset.
    assert fields(stats) == every_field(api.ContainerStats.DESCRIPTOR, {"attempt"})
    assert stats.cpu.psi == api.PsiStats(
        Some=api.PsiData(Total=4, Avg10=1, Avg60=2, Avg300=3), Full=api.PsiData(Total=8, Avg10=5, Avg60=6, Avg300=7)
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_container_in_figures(tmp_path: Path, version: str) -> None:
    write(tmp_path, V1 if version == "v1" else V2)
    cgroup = v1(tmp_path) if version == "v1" else v2(tmp_path)
    stats = messages.container_stats(CONTAINER, reading(cgroup), DISK, "/images")
    assert stats.attributes == CONTAINER.attributes
    assert stats.cpu.usage_core_nano_seconds.value // 1000 == 2825951
    assert stats.cpu.usage_nano_cores.value > 0
    memory = stats.memory
    assert (memory.usage_bytes.value, memory.working_set_bytes.value) == (3477504, 331776)
    assert (memory.available_bytes.value, memory.rss_bytes.value) == (66777088, 61440)
    assert (memory.page_faults.value, memory.major_page_faults.value) == (1121, 3)
    assert (stats.swap.swap_usage_bytes.value, stats.swap.swap_available_bytes.value) == (8192, 33546240)
    layer = stats.writable_layer
    assert (layer.used_bytes.value, layer.inodes_used.value, layer.fs_id.mountpoint) == (3170304, 10, "/images")
    assert layer.timestamp == DISK.timestamp
    assert stats.HasField("io") == (version == "v2")
    assert stats.cpu.HasField("psi") == (version == "v2")


def test_what_is_not_known_is_unset(tmp_path: Path) -> None:
    write(tmp_path, V2)
    write(tmp_path, {"memory.max": "max\n", "memory.swap.max": "max\n"})
    first = readings.take(v2(tmp_path), "/a", Rates())
    stats = messages.container_stats(CONTAINER, first, None, "/images")
    assert not stats.cpu.HasField("usage_nano_cores")
    assert not stats.memory.HasField("available_bytes")
    assert not stats.swap.HasField("swap_available_bytes")
    assert not stats.HasField("writable_layer")


def test_an_ended_container_has_its_writable_layer_alone() -> None:
    stats = messages.container_stats(CONTAINER, None, DISK, "/images")
    assert {field.name for field, _ in stats.ListFields()} == {"attributes", "writable_layer"}


def test_a_sandbox(tmp_path: Path) -> None:
    write(tmp_path, V2)
    container = messages.container_stats(CONTAINER, None, DISK, "/images")
    interfaces = [Interface("eth0", 1510, 17, 1, 2, 472, 6, 3, 4), Interface("net1", 9, 8, 7, 6, 5, 4, 3, 2)]
    whole = messages.SandboxReading(
        whole=reading(v2(tmp_path)), interfaces=interfaces, processes=3, containers=[container]
    )
    linux = messages.sandbox_stats(SANDBOX, whole, "eth0").linux
    assert linux.cpu.usage_core_nano_seconds.value == 2825951000
    assert linux.memory.working_set_bytes.value == 331776
    assert linux.process.process_count.value == 3
    assert list(linux.containers) == [container]
    assert linux.io.psi.Some.Total == 5
    network = linux.network
    assert network.timestamp > 0
    assert network.default_interface == api.NetworkInterfaceUsage(
        name="eth0",
        rx_bytes=api.UInt64Value(value=1510),
        rx_errors=api.UInt64Value(value=1),
        tx_bytes=api.UInt64Value(value=472),
        tx_errors=api.UInt64Value(value=3),
    )
    assert [one.name for one in network.interfaces] == ["net1"]


def test_a_stopped_sandbox_has_its_attributes_alone() -> None:
    stats = messages.sandbox_stats(SANDBOX, None, "eth0")
    assert stats == api.PodSandboxStats(attributes=SANDBOX.attributes)


def test_cgroups_taken_together(tmp_path: Path) -> None:
    write(tmp_path / "a", V2)
    write(tmp_path / "b", V2)
    first = reading(v2(tmp_path / "a"))
    second = readings.take(v2(tmp_path / "b"), "/b", Rates())
    gone = readings.take(v2(tmp_path / "gone"), "/gone", Rates())
    whole = readings.together([first, second, gone])
    assert whole.cpu == 2 * 2825951000
    assert whole.rate == first.rate
    assert whole.memory is not None
    assert (whole.memory.usage, whole.memory.working_set, whole.memory.swap) == (6955008, 663552, 16384)
    assert whole.memory.limit is None


def test_nothing_taken_together_has_used_nothing() -> None:
    nothing = readings.together([])
    assert (nothing.cpu, nothing.rate) == (0, 0)
    assert nothing.memory is not None
    assert (nothing.memory.usage, nothing.memory.swap) == (0, 0)
    assert nothing.timestamp > 0
