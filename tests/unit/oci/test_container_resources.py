"""Specs that really run: mounts, devices and limits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.containers import (
    CGROUP,
    Bench,
    container,
)

from podyard.cri import api
from podyard.linux import cgroups, mounts

pytestmark = pytest.mark.host


async def test_mounts_of_the_request_and_the_pods_files(bench: Bench) -> None:
    for name in ("data", "deep"):
        (bench.folder / name).mkdir()
        (bench.folder / name / "file").write_text(name)
    (bench.folder / "hosts").write_text("1.2.3.4 me\n")
    config = api.ContainerConfig(
        mounts=[
            api.Mount(container_path="/data/deep", host_path=str(bench.folder / "deep"), readonly=True),
            api.Mount(container_path="/data", host_path=str(bench.folder / "data"), mount_options=["noexec"]),
        ]
    )
    (bench.folder / "data" / "deep").mkdir()
    (bench.folder / "shm").mkdir()
    script = (
        "cat /data/file /data/deep/file /etc/hosts; echo new > /data/new; touch /data/deep/no;"
        "touch /dev/shm/here; grep ' /data ' /proc/mounts"
    )
    files = {"/etc/hosts": bench.folder / "hosts"}
    ended = await bench.run(script, config, files=files, shm=bench.folder / "shm")
    assert ended.out.startswith("datadeep1.2.3.4 me\n")
    assert "noexec" in ended.out
    assert "/data/deep/no: Read-only file system" in ended.err
    assert (bench.folder / "data" / "new").read_text() == "new\n"
    assert (bench.folder / "shm" / "here").exists()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "shared"
    folder.mkdir()
    mounts.mount_tmpfs(folder, "size=1m")
    subprocess.run(["mount", "--make-shared", str(folder)], check=True)
    (folder / "below").mkdir()
    yield folder
    mounts.remove_tree(folder)


async def test_a_mount_made_in_the_container_is_seen_on_the_host(shared: Path, bench: Bench) -> None:
    config = container(privileged=True)
    config.mounts.append(
        api.Mount(container_path="/s", host_path=str(shared), propagation=api.PROPAGATION_BIDIRECTIONAL)
    )
    ended = await bench.run("mount -t tmpfs inside /s/below", config)
    assert ended.code == 0, ended.pieces
    assert mounts.mounted_below(shared) == [shared / "below", shared]


async def test_a_mount_made_on_the_host_is_seen_in_the_container(shared: Path, bench: Bench) -> None:
    wait = "while [ ! -e /s/below/sign ]; do sleep 0.01; done; echo seen"
    config = api.ContainerConfig(command=["sh", "-c", wait])
    config.mounts.append(
        api.Mount(container_path="/s", host_path=str(shared), propagation=api.PROPAGATION_HOST_TO_CONTAINER)
    )
    made = await bench.create("c", config)
    await bench.runtime.start("c")
    mounts.mount_tmpfs(shared / "below", "size=1m")
    (shared / "below" / "sign").touch()
    assert (await bench.ended("c", made)).out == "seen"


async def test_devices(bench: Bench) -> None:
    config = api.ContainerConfig(
        devices=[api.Device(container_path="/dev/mine", host_path="/dev/zero", permissions="r")]
    )
    script = (
        "head -c 3 /dev/mine | wc -c; head -c 5 /dev/urandom | wc -c; echo x > /dev/null; echo x > /dev/full;"
        "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg"
    )
    ended = await bench.run(script, config)
    errors = ended.err.splitlines()
    assert ended.out == "3\n5"
    assert "No space left" in errors[0]
    assert "Operation not permitted" in errors[1]
    assert ended.code == 1


async def test_limits_are_in_the_cgroup(bench: Bench) -> None:
    config = api.ContainerConfig(
        command=["sleep", "60"],
        linux=api.LinuxContainerConfig(
            resources=api.LinuxContainerResources(
                cpu_shares=512,
                cpu_quota=50_000,
                cpu_period=100_000,
                cpuset_cpus="0",
                memory_limit_in_bytes=64 << 20,
                oom_score_adj=500,
            )
        ),
    )
    made = await bench.create("c", config)
    assert Path(f"/proc/{made.pid}/oom_score_adj").read_text().strip() == "500"
    seen = read_limits(made.pid)
    assert seen["memory"] == str(64 << 20)
    assert seen["quota"] == "50000"
    assert seen["cpus"] == "0"
    assert seen["weight"] in {"512", "20"}


def read_limits(pid: int) -> dict[str, str]:
    """On v2 the OCI runtimes turn 512 shares into a weight of 20."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    paths = {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}

    def read(controller: str, v1: str, v2: str) -> str:
        if cgroups.is_v2():
            return (cgroups.ROOT / paths[""] / v2).read_text().split()[0]
        base = next(base for base in cgroups.hierarchies() if controller in base.name.split(","))
        return (base / paths[controller] / v1).read_text().strip()

    return {
        "memory": read("memory", "memory.limit_in_bytes", "memory.max"),
        "quota": read("cpu", "cpu.cfs_quota_us", "cpu.max"),
        "weight": read("cpu", "cpu.shares", "cpu.weight"),
        "cpus": read("cpuset", "cpuset.cpus", "cpuset.cpus"),
    }


async def test_the_process_sees_only_its_own_cgroup_and_names(bench: Bench) -> None:
    tree = "/sys/fs/cgroup" if cgroups.is_v2() else "/sys/fs/cgroup/pids"
    ended = await bench.run(f"cat /proc/self/cgroup; ls /proc | grep -c '^[0-9]'; mkdir {tree}/x")
    assert CGROUP not in ended.out
    assert int(ended.out.splitlines()[-1]) <= 5
    assert "Read-only file system" in ended.err
