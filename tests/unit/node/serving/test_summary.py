"""Usage as the kubelet's clients read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from podyard.cri import api
from podyard.metrics import text
from podyard.node.disks import Measured, PodDisk
from podyard.node.filesystem import FileSystem
from podyard.node.serving.summary import resource_metrics, summary
from podyard.node.usage import Interface, MachineReading, Usage, by_pod, read_interfaces, read_machine_usage
from podyard.pods import ContainerView, PodView
from podyard.pods.usage import TreeUsage

MACHINE = MachineReading(
    time=2000.5, started=1000.0, cpu=5 * 10**9, memory_total=1000, memory_used=700, working_set=600, swap_used=12
)
DISK = FileSystem(capacity=100, available=40, inodes=10, inodes_free=7)
AT = 1_999_000_000_000


def container(name: str, state: str = "running") -> ContainerView:
    return ContainerView(
        name=name,
        id=f"id-{name}",
        state=state,
        exit_code=0,
        reason="",
        restarts=0,
        log_path=None,
        init=False,  # type: ignore[arg-type]
        started_at=1_500_000_000_000,
    )


VIEW = PodView(
    name="web",
    namespace="ns",
    uid="u",
    sandbox_id="s",
    ips=(),
    ready=True,
    created_at=1_400_000_000_000,
    containers=(container("main"), container("ended", "exited")),
)


def stats(name: str) -> api.ContainerStats:
    return api.ContainerStats(
        attributes=api.ContainerAttributes(
            id=f"id-{name}",
            labels={
                "io.kubernetes.pod.name": "web",
                "io.kubernetes.pod.namespace": "ns",
                "io.kubernetes.pod.uid": "u",
            },
        ),
        cpu=api.CpuUsage(
            timestamp=AT,
            usage_core_nano_seconds=api.UInt64Value(value=1_500_000_000),
            usage_nano_cores=api.UInt64Value(value=7),
        ),
        memory=api.MemoryUsage(timestamp=AT, working_set_bytes=api.UInt64Value(value=33)),
        swap=api.SwapUsage(timestamp=AT, swap_usage_bytes=api.UInt64Value(value=11)),
    )


def sandbox(uid: str = "u", id: str = "s") -> api.PodSandboxStats:
    return api.PodSandboxStats(
        attributes=api.PodSandboxAttributes(id=id, metadata=api.PodSandboxMetadata(uid=uid)),
        linux=api.LinuxPodSandboxStats(
            cpu=api.CpuUsage(timestamp=AT, usage_core_nano_seconds=api.UInt64Value(value=2_000_000_000)),
            memory=api.MemoryUsage(timestamp=AT, working_set_bytes=api.UInt64Value(value=44)),
            network=api.NetworkUsage(
                timestamp=AT,
                default_interface=api.NetworkInterfaceUsage(name="eth0", rx_bytes=api.UInt64Value(value=9)),
            ),
            process=api.ProcessUsage(timestamp=AT, process_count=api.UInt64Value(value=3)),
            containers=[stats("main"), stats("ended"), stats("unknown")],
        ),
    )


def usage(*pods: api.PodSandboxStats, failure: str = "") -> Usage:
    return Usage(
        machine=MACHINE, cpu_rate=None, node_fs=DISK, image_fs=DISK, image_bytes=20, pods=pods, failure=failure
    )


def test_a_summary_has_the_machine_and_its_own_pods() -> None:
    found = summary(usage(sandbox(), sandbox(uid="other"), sandbox(id="older")), [VIEW], {}, "n")
    node = found["node"]
    assert (node["nodeName"], node["startTime"]) == ("n", "1970-01-01T00:16:40Z")
    assert node["cpu"] == {"time": "1970-01-01T00:33:20Z", "usageCoreNanoSeconds": 5 * 10**9}
    assert (node["memory"]["availableBytes"], node["memory"]["workingSetBytes"]) == (400, 600)
    assert (node["fs"]["usedBytes"], node["fs"]["inodesUsed"]) == (60, 3)
    assert node["runtime"]["imageFs"]["usedBytes"] == 20
    (pod,) = found["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "ns", "uid": "u"}
    assert pod["memory"] == {"time": "1970-01-01T00:33:19Z", "workingSetBytes": 44}
    assert (pod["network"]["name"], pod["network"]["rxBytes"], pod["process_stats"]) == (
        "eth0",
        9,
        {"process_count": 3},
    )
    (main,) = pod["containers"]
    assert (main["name"], main["startTime"]) == ("main", "1970-01-01T00:25:00Z")
    assert main["cpu"] == {
        "time": "1970-01-01T00:33:19Z",
        "usageNanoCores": 7,
        "usageCoreNanoSeconds": 1_500_000_000,
    }


def test_resource_metrics_have_the_time_of_their_measurement() -> None:
    lines = [line for line in text(resource_metrics(usage(sandbox()), [VIEW])).splitlines() if line[0] != "#"]
    assert lines == [
        'container_cpu_usage_seconds_total{container="main",namespace="ns",pod="web"} 1.5 1999000',
        'container_memory_working_set_bytes{container="main",namespace="ns",pod="web"} 33 1999000',
        'container_swap_usage_bytes{container="main",namespace="ns",pod="web"} 11 1999000',
        'container_start_time_seconds{container="main",namespace="ns",pod="web"} 1500',
        "node_cpu_usage_seconds_total 5 2000500",
        "node_memory_working_set_bytes 600 2000500",
        'pod_cpu_usage_seconds_total{namespace="ns",pod="web"} 2 1999000',
        'pod_memory_working_set_bytes{namespace="ns",pod="web"} 44 1999000',
        "node_swap_usage_bytes 12 2000500",
        "resource_scrape_error 0",
    ]


def test_a_summary_has_the_machines_network() -> None:
    def one(name: str, **more: bool) -> Interface:
        return Interface(name=name, rx_bytes=1, rx_errors=2, tx_bytes=3, tx_errors=4, **more)

    amounts = {"rxBytes": 1, "rxErrors": 2, "txBytes": 3, "txErrors": 4}
    found = replace(usage(), interfaces=[one("br0"), one("eth0", default=True)])
    assert summary(found, [], {}, "n")["node"]["network"] == {
        "time": "1970-01-01T00:33:20Z",
        "name": "eth0",
        **amounts,
        "interfaces": [{"name": "eth0", **amounts}, {"name": "br0", **amounts}],
    }
    alone = summary(replace(found, interfaces=[one("br0")]), [], {}, "n")["node"]["network"]
    assert alone.keys() == {"time", "interfaces"}
    assert "network" not in summary(usage(), [], {}, "n")["node"]


def test_a_summary_has_what_a_pod_takes_of_the_disk() -> None:
    pod = sandbox()
    pod.linux.containers[0].writable_layer.used_bytes.value = 5
    disk = PodDisk(
        time=1900.0,
        volumes={
            "data": Measured(used=TreeUsage(30, 3), file_system=DISK),
            "fast": Measured(used=TreeUsage(7, 1), file_system=replace(DISK, device=9, capacity=50)),
        },
        logs={"main": Measured(used=TreeUsage(2, 1), file_system=DISK)},
    )
    (found,) = summary(usage(pod), [VIEW], {"u": disk}, "n")["pods"]
    data, fast = found["volume"]
    assert (data["name"], data["usedBytes"], data["inodesUsed"], data["capacityBytes"]) == ("data", 30, 3, 100)
    assert (fast["name"], fast["usedBytes"], fast["capacityBytes"]) == ("fast", 7, 50)
    whole = found["ephemeral-storage"]
    assert (whole["usedBytes"], whole["inodesUsed"], whole["availableBytes"]) == (37, 4, 40)
    assert whole["time"] == "1970-01-01T00:31:40Z"
    assert found["containers"][0]["logs"]["usedBytes"] == 2


def test_interfaces_are_read(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    counters = " 10 1 2 0 0 0 0 0 30 1 4 0 0 0 0 0"
    names = ("lo", "veth1234", "eth0", "br0")
    (tmp_path / "net/dev").write_text("a\nb\n" + "".join(f"  {name}:{counters}\n" for name in names))
    lines = [
        "Iface Destination",
        "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0",
        "br0 0000800A 0 1 0 0 0 0000FFFF 0 0 0",
    ]
    (tmp_path / "net/route").write_text("\n".join(lines))
    eth0, br0 = read_interfaces(tmp_path)
    assert eth0 == Interface(name="eth0", rx_bytes=10, rx_errors=2, tx_bytes=30, tx_errors=4, default=True)
    assert (br0.name, br0.default) == ("br0", False)


def test_a_runtime_that_is_away_is_told() -> None:
    assert text(resource_metrics(usage(failure="away"), [])).endswith("\nresource_scrape_error 1\n")
    assert summary(usage(failure="away"), [], {}, "n")["pods"] == []


def test_pods_are_put_together_of_their_containers() -> None:
    (pod,) = by_pod([stats("main"), stats("other"), api.ContainerStats()])
    assert (pod.attributes.metadata.uid, len(pod.linux.containers)) == ("u", 2)
    assert pod.linux.cpu.usage_core_nano_seconds.value == 3_000_000_000
    assert (pod.linux.memory.timestamp, pod.linux.memory.working_set_bytes.value) == (AT, 66)
    assert len(summary(usage(pod), [VIEW], {}, "n")["pods"]) == 1


def test_the_machine_is_read(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 10 50 9999 5 1 2 3 7 0\ncpu0 1 1 1 1 1 1 1 1\nbtime 1700000000\n")
    (tmp_path / "meminfo").write_text(
        "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 100 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n"
        "HugePages_Total: 0\n"
    )
    found = read_machine_usage(tmp_path)
    assert found.cpu == 166 * 10**7
    assert (found.started, found.memory_total, found.memory_used) == (1.7e9, 1000 << 10, 700 << 10)
    assert (found.working_set, found.swap_used) == (600 << 10, 6 << 10)
    assert read_machine_usage().cpu > 0
