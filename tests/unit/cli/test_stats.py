"""``podyard stats``."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from itertools import count
from typing import Any

import grpc
import pytest
from tests.unit.cli.conftest import Podyard
from tests.unit.cli.fake_runtime import FakeRuntime, FakeServer

from podyard.cli import stats as command
from podyard.cri import api

SECOND = 1_000_000_000


def number(value: int) -> api.UInt64Value:
    return api.UInt64Value(value=value)


def container_stats(id_: str, rate: int | None = None, used: int = 0, at: int = 1) -> api.ContainerStats:
    cpu = api.CpuUsage(timestamp=at, usage_core_nano_seconds=number(used))
    if rate is not None:
        cpu.usage_nano_cores.value = rate
    return api.ContainerStats(
        attributes=api.ContainerAttributes(id=id_),
        cpu=cpu,
        memory=api.MemoryUsage(working_set_bytes=number(12_300_000), available_bytes=number(1_000_000_000)),
        swap=api.SwapUsage(swap_usage_bytes=number(0)),
        writable_layer=api.FilesystemUsage(used_bytes=number(4096), inodes_used=number(3)),
    )


@pytest.fixture
def ids(runtime: FakeRuntime) -> dict[str, str]:
    """A pod of two containers, and one of one."""
    web, db = runtime.add_sandbox("web"), runtime.add_sandbox("db", "other")
    return {
        "web": web,
        "db": db,
        "nginx": runtime.add_container(web, "nginx"),
        "log": runtime.add_container(web, "log"),
        "store": runtime.add_container(db, "store"),
    }


def test_containers_are_a_table(podyard: Podyard, runtime: FakeRuntime, ids: dict[str, str]) -> None:
    bare = api.ContainerStats(
        attributes=api.ContainerAttributes(id=ids["log"]), cpu=api.CpuUsage(usage_nano_cores=number(0))
    )
    runtime.container_stats = [
        container_stats(ids["store"], SECOND // 4),
        container_stats(ids["nginx"], 1_600_000),
        bare,
    ]
    nginx = {
        "CONTAINER": "nginx",
        "POD": "web",
        "NAMESPACE": "default",
        "CPU": "2m",
        "MEMORY": "12.3 MB",
        "LEFT": "1.0 GB",
        "SWAP": "0 B",
        "DISK": "4.1 kB",
        "INODES": "3",
        "CONTAINER ID": ids["nginx"][:13],
    }
    rows = podyard("stats").table
    assert [row["CONTAINER"] for row in rows] == ["log", "nginx", "store"]
    assert rows[1] == nginx
    assert {row["CONTAINER"]: row["CPU"] for row in rows} == {"log": "0m", "nginx": "2m", "store": "250m"}
    assert (rows[0]["MEMORY"], rows[0]["DISK"], rows[0]["INODES"]) == ("-", "-", "-")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["web"], {"nginx", "log"}),
        (["nginx"], {"nginx"}),
        (["other/db", "web/log"], {"store", "log"}),
        ([], {"nginx", "log", "store"}),
    ],
)
def test_what_is_named_is_shown(
    podyard: Podyard, runtime: FakeRuntime, ids: dict[str, str], names: list[str], expected: set[str]
) -> None:
    runtime.container_stats = [container_stats(ids[name], 1) for name in ("nginx", "log", "store")]
    assert {row["CONTAINER"] for row in podyard("stats", *names).table} == expected


def test_a_name_that_nothing_has(podyard: Podyard, ids: dict[str, str]) -> None:
    ended = podyard("stats", "nobody")
    assert ended.code == 3
    assert "nobody" in ended.err


def test_a_runtime_without_rates_is_asked_twice(
    podyard: Podyard, runtime: FakeRuntime, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BETWEEN", 0.01)
    readings = count()

    def answer(request: Any) -> api.ListContainerStatsResponse:
        times = next(readings)
        stats = container_stats(ids["nginx"], used=times * SECOND // 2, at=1 + times * 2 * SECOND)
        return api.ListContainerStatsResponse(stats=[stats])

    runtime.answers["ListContainerStats"] = answer
    assert [row["CPU"] for row in podyard("stats").table] == ["250m"]
    assert len(runtime.called("ListContainerStats")) == 2


def test_for_programs_the_messages_are_as_the_runtime_gave_them(
    podyard: Podyard, runtime: FakeRuntime, ids: dict[str, str]
) -> None:
    runtime.container_stats = [container_stats(ids["nginx"], used=7)]
    [found] = podyard("stats", "-o", "json").data
    assert found["attributes"]["id"] == ids["nginx"]
    assert found["cpu"]["usage_core_nano_seconds"] == {"value": "7"}
    assert "usage_nano_cores" not in found["cpu"]
    assert len(runtime.called("ListContainerStats")) == 1
    assert podyard("stats", "-o", "name").out == "default/web/nginx\n"
    assert podyard("stats", "-q").out == f"{ids['nginx']}\n"


@pytest.fixture
def pods(runtime: FakeRuntime, ids: dict[str, str]) -> dict[str, str]:
    def stats(name: str, linux: api.LinuxPodSandboxStats) -> api.PodSandboxStats:
        status = runtime.sandboxes[ids[name]]
        return api.PodSandboxStats(
            attributes=api.PodSandboxAttributes(id=ids[name], metadata=status.metadata), linux=linux
        )

    cpu = api.CpuUsage(timestamp=1, usage_core_nano_seconds=number(9), usage_nano_cores=number(2 * SECOND))
    web = api.LinuxPodSandboxStats(
        cpu=cpu,
        memory=api.MemoryUsage(working_set_bytes=number(5_000_000)),
        network=api.NetworkUsage(
            default_interface=api.NetworkInterfaceUsage(name="eth0", rx_bytes=number(1000), tx_bytes=number(2000)),
            interfaces=[api.NetworkInterfaceUsage(name="net1", rx_bytes=number(1), tx_bytes=number(2))],
        ),
        process=api.ProcessUsage(process_count=number(4)),
    )
    runtime.sandbox_stats = [stats("web", web), stats("db", api.LinuxPodSandboxStats(cpu=cpu))]
    return ids


def test_pods_are_a_table(podyard: Podyard, pods: dict[str, str]) -> None:
    assert podyard("stats", "--pods").table[0] == {
        "NAME": "web",
        "NAMESPACE": "default",
        "CPU": "2000m",
        "MEMORY": "5.0 MB",
        "LEFT": "-",
        "PROCESSES": "4",
        "RECEIVED": "1.0 kB",
        "SENT": "2.0 kB",
        "POD ID": pods["web"][:13],
    }
    host_network = podyard("stats", "-p", "db").table
    assert [(row["NAME"], row["RECEIVED"], row["SENT"]) for row in host_network] == [("db", "-", "-")]
    assert podyard("stats", "-p", "-o", "name").out == "default/web\nother/db\n"


def test_a_runtime_that_lacks_the_call(podyard: Podyard, runtime: FakeRuntime) -> None:
    runtime.fail["ListContainerStats"] = (grpc.StatusCode.UNIMPLEMENTED, "not here")
    ended = podyard("stats")
    assert ended.code == 6
    assert "ListContainerStats" in ended.err


def test_watching_goes_on_until_ctrl_c(server: FakeServer, runtime: FakeRuntime, ids: dict[str, str]) -> None:
    runtime.container_stats = [container_stats(ids["nginx"], 1)]
    arguments = ["-r", server.endpoint, "stats", "--watch", "--interval", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "podyard", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 20
        while len(runtime.called("ListContainerStats")) < 4:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err.strip()) == (130, "")
    assert out.count("CONTAINER ID") >= 3
    assert command.CLEAR not in out
