"""Hosts where systemd is process 1 and cgroup v2 is alone: the systemd cgroup driver, and podyard as a service.

tests/vm makes such a host; elsewhere these tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import WAIT_LIMIT, Kit, kit_on
from tests.support.servers import SYSTEMD, Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.linux import cgroups
from podyard.linux.process import start_time

pytestmark = pytest.mark.skipif(
    not SYSTEMD or not cgroups.is_v2(),
    reason="needs systemd's cgroup driver and cgroup v2 (tests/vm/run makes a machine that has both)",
)

UNIT = "podyard-test.service"
UNIT_FILE = Path("/run/systemd/system") / UNIT


@pytest.fixture
async def kit(podyard: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(podyard.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, podyard.folder / "tests", images.busybox, podyard.name)
        try:
            yield kit
        finally:
            await kit.close()


def systemctl(*arguments: str, ok: bool = True) -> str:
    done = subprocess.run(
        ["systemctl", "--no-pager", *arguments], capture_output=True, text=True, timeout=60 * PATIENCE
    )
    if done.returncode != 0 and ok:
        journal = subprocess.run(["journalctl", "--no-pager", "-n", "40", "-u", UNIT], capture_output=True, text=True)
        pytest.fail(f"systemctl {' '.join(arguments)}: {done.stderr}{journal.stdout}")
    return done.stdout.strip()


async def cgroup_of(kit: Kit, container_id: str) -> str:
    """The cgroup of a container's first process, as the host sees it.

    With crun it is below the scope: so systemd, which sets the scope's limits again at each daemon-reload, does not
    touch the container's.
    """
    return cgroups.of_process(await pid_of(kit, container_id))


def scope_of(cgroup: str) -> str:
    return cgroup.removesuffix("/container")


async def pid_of(kit: Kit, container_id: str) -> int:
    answer = await kit.client.runtime.container_status(container_id, verbose=True)
    pid: int = json.loads(answer.info["info"])["pid"]
    return pid


async def gone(path: Path) -> None:
    """systemd removes a cgroup when it is told that it is empty: soon, not at once."""
    async with asyncio.timeout(WAIT_LIMIT):
        while path.exists():
            await asyncio.sleep(0.05)


async def test_the_kubelet_is_told_to_use_systemd(kit: Kit) -> None:
    config = await kit.client.runtime.runtime_config()
    assert config.linux.cgroup_driver == api.SYSTEMD


async def test_a_container_is_a_scope_in_podyards_slice(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(sandbox_id, ["sleep", "1000"])
    cgroup = await cgroup_of(kit, container_id)
    unit = f"podyard-{container_id}.scope"
    assert scope_of(cgroup) == f"/podyard.slice/{unit}"
    assert systemctl("show", "-P", "ActiveState", unit) == "active"
    assert systemctl("show", "-P", "Slice", unit) == "podyard.slice"
    await kit.client.runtime.stop_container(container_id, 0)
    await gone(cgroups.ROOT / scope_of(cgroup).lstrip("/"))
    await kit.client.runtime.remove_container(container_id)
    assert systemctl("show", "-P", "ActiveState", unit) == "inactive"


@pytest.mark.parametrize("pid", [api.CONTAINER, api.POD], ids=["own PIDs", "shared PIDs"])
async def test_everything_of_a_pod_is_below_the_slice_that_the_request_names(
    kit: Kit, pid: api.NamespaceMode.ValueType
) -> None:
    name = uuid.uuid4().hex
    parent = f"/podyardtest.slice/podyardtest-pods.slice/podyardtest-pods-pod{name}.slice"
    options = api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(pid=pid))
    linux = api.LinuxPodSandboxConfig(cgroup_parent=parent, security_context=options)
    sandbox_id = await kit.sandbox(linux=linux)
    security = api.LinuxContainerSecurityContext(namespace_options=api.NamespaceOption(pid=pid))
    container_id = await kit.start(
        sandbox_id, ["sleep", "1000"], linux=api.LinuxContainerConfig(security_context=security)
    )
    assert scope_of(await cgroup_of(kit, container_id)) == f"{parent}/podyard-{container_id}.scope"
    folder = cgroups.ROOT / parent.lstrip("/")
    scopes = {path.name for path in folder.glob("*.scope")}
    infra = {f"podyard-{sandbox_id}.scope"} if pid == api.POD else set()
    assert scopes == {f"podyard-{container_id}.scope"} | infra
    await kit.client.runtime.stop_pod_sandbox(sandbox_id)
    for scope in scopes:
        await gone(folder / scope)
    await kit.client.runtime.remove_pod_sandbox(sandbox_id)
    systemctl("stop", "podyardtest.slice")


@pytest.mark.parametrize("parent", ["/kubepods/pod1", "kubepods", "/a.slice/b.scope"])
async def test_a_parent_that_is_no_slice_is_refused(kit: Kit, parent: str) -> None:
    with pytest.raises(InvalidArgument, match=r"slice"):
        await kit.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))


async def test_limits_are_what_the_kernel_keeps(kit: Kit) -> None:
    resources = api.LinuxContainerResources(
        cpu_period=100_000,
        cpu_quota=25_000,
        cpu_shares=512,
        cpuset_cpus="0",
        memory_limit_in_bytes=64 << 20,
        unified={"pids.max": "77", "memory.high": str(48 << 20)},
    )
    container_id = await kit.start(
        await kit.sandbox(), ["sleep", "1000"], linux=api.LinuxContainerConfig(resources=resources)
    )
    folder = cgroups.ROOT / (await cgroup_of(kit, container_id)).lstrip("/")
    wanted = {
        "cpu.max": "25000 100000",
        # 1 + (shares - 2) * 9999 / 262142 (OCI runtimes' conversion of v1 shares).
        "cpu.weight": "20",
        "cpuset.cpus": "0",
        "memory.max": str(64 << 20),
        "memory.high": str(48 << 20),
        "memory.swap.max": "0",
        "pids.max": "77",
    }
    assert {name: (folder / name).read_text().strip() for name in wanted} == wanted
    # systemd writes what it knows of at each reload: every installation of a package with a unit makes one.
    systemctl("daemon-reload")
    assert {name: (folder / name).read_text().strip() for name in wanted} == wanted


def swap_files(cgroup: str) -> set[Path]:
    """The limits of swap that hold together for a container: with crun its own and its scope's."""
    return {cgroups.ROOT / path.lstrip("/") / "memory.swap.max" for path in (cgroup, scope_of(cgroup))}


async def test_swap_that_a_kubelet_gives(kit: Kit) -> None:
    """A kubelet says how much swap there is in ``unified``, and nothing in memory_swap_limit_in_bytes."""

    def limits(swap: str) -> api.LinuxContainerResources:
        return api.LinuxContainerResources(memory_limit_in_bytes=64 << 20, unified={"memory.swap.max": swap})

    linux = api.LinuxContainerConfig(resources=limits(str(32 << 20)))
    container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"], linux=linux)
    files = swap_files(await cgroup_of(kit, container_id))
    systemctl("daemon-reload")
    assert {file.read_text().strip() for file in files} <= {str(32 << 20), "max"}
    for swap in ("0", str(16 << 20), "max"):
        await kit.client.runtime.update_container_resources(container_id, limits(swap))
        systemctl("daemon-reload")
        assert {file.read_text().strip() for file in files} == {swap}


async def test_swap_is_given_and_taken_away_for_good(kit: Kit) -> None:
    size = 64 << 20
    limits = api.LinuxContainerConfig(resources=api.LinuxContainerResources(memory_limit_in_bytes=size))
    container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"], linux=limits)
    cgroup = await cgroup_of(kit, container_id)
    files = swap_files(cgroup)
    for swap in (32 << 20, 0, 16 << 20):
        both = api.LinuxContainerResources(memory_limit_in_bytes=size, memory_swap_limit_in_bytes=size + swap)
        await kit.client.runtime.update_container_resources(container_id, both)
        assert {file.read_text().strip() for file in files} == {str(swap)}
        systemctl("daemon-reload")
        assert {file.read_text().strip() for file in files} == {str(swap)}
    no_limit = api.LinuxContainerResources(memory_limit_in_bytes=-1, memory_swap_limit_in_bytes=-1)
    await kit.client.runtime.update_container_resources(container_id, no_limit)
    assert {file.read_text().strip() for file in files} == {"max"}


async def test_oom_killed_is_reported_though_the_scope_goes_with_its_process(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    limits = api.LinuxContainerConfig(resources=api.LinuxContainerResources(memory_limit_in_bytes=16 << 20))
    eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
    ids = await asyncio.gather(*(kit.start(sandbox_id, eat, linux=limits) for _ in range(8)))
    ended = [await kit.ended(container_id) for container_id in ids]
    assert {(status.exit_code, status.reason) for status in ended} == {(137, "OOMKilled")}


async def test_oom_killed_is_reported_of_what_was_killed_while_podyard_was_down(own: Podyard, images: Images) -> None:
    async with kit_on(own, images.busybox) as kit:
        sandbox_id = await kit.sandbox()
        limits = api.LinuxContainerConfig(resources=api.LinuxContainerResources(memory_limit_in_bytes=16 << 20))
        wait = "while [ ! -e /dev/shm/go ]; do sleep 0.1; done"
        eat = ["sh", "-c", f"{wait}; exec dd if=/dev/zero of=/dev/null bs=64M count=1"]
        ids = [await kit.start(sandbox_id, eat, linux=limits) for _ in range(2)]
        other = await kit.start(sandbox_id, ["sh", "-c", f"{wait}; exit 4"])
        scopes = [scope_of(await cgroup_of(kit, container_id)) for container_id in (*ids, other)]
        own.kill()
        (own.run / "sandboxes" / sandbox_id / "shm" / "go").touch()
        for scope in scopes:
            await gone(cgroups.ROOT / scope.lstrip("/"))
        own.spawn()
        await own.ready()
        ended = [await kit.ended(container_id) for container_id in (*ids, other)]
        assert [(status.exit_code, status.reason) for status in ended] == [
            (137, "OOMKilled"),
            (137, "OOMKilled"),
            (4, "Error"),
        ]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Podyard]:
    """podyard as a unit of systemd, written as an administrator would (docs: KillMode=process)."""
    server = Podyard(tmp_path / "podyard")
    server.folder.mkdir()
    server.configure()
    UNIT_FILE.write_text(
        f"[Service]\nType=notify\nExecStart={' '.join(server.argv())}\nKillMode=process\nDelegate=yes\n"
        f"TimeoutStartSec={int(30 * PATIENCE)}\nEnvironment=PATH={os.environ['PATH']}\n"
    )
    systemctl("daemon-reload")
    try:
        systemctl("start", UNIT)
        yield server
    finally:
        systemctl("stop", UNIT, ok=False)
        UNIT_FILE.unlink()
        systemctl("daemon-reload")
        server.reset()
        server.network.remove()


async def test_a_service_that_is_restarted_keeps_its_containers(service: Podyard, images: Images) -> None:
    async with await Client.connect(service.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, service.folder / "tests", images.busybox, service.name)
        sandbox_id = await kit.sandbox()
        script = "trap 'echo bye; exit 7' TERM; while :; do echo tick; sleep 0.1; done"
        container_id = await kit.start(sandbox_id, ["sh", "-c", script])
        pid = await pid_of(kit, container_id)
        began = start_time(pid)
        main = systemctl("show", "-P", "MainPID", UNIT)
        systemctl("restart", UNIT)
        assert systemctl("show", "-P", "MainPID", UNIT) not in {main, "0"}
    async with await Client.connect(service.endpoint) as client:
        kit.client = client
        assert start_time(pid) == began != 0
        assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
        # The monitor lives, too: it still writes the log, and tells the exit code.
        before = len(kit.log_lines(await kit.status(container_id)))
        async with asyncio.timeout(WAIT_LIMIT):
            while len(kit.log_lines(await kit.status(container_id))) == before:
                await asyncio.sleep(0.1)
        await client.runtime.stop_container(container_id, int(WAIT_LIMIT))
        status = await kit.status(container_id)
        assert (status.exit_code, status.reason) == (7, "Error")
        assert kit.output(status).endswith("bye\n")
        await kit.close()


async def test_a_service_that_is_stopped_leaves_its_containers_running(service: Podyard, images: Images) -> None:
    async with await Client.connect(service.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, service.folder / "tests", images.busybox, service.name)
        container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"])
        pid = await pid_of(kit, container_id)
        began = start_time(pid)
    systemctl("stop", UNIT)
    assert systemctl("show", "-P", "ActiveState", UNIT) == "inactive"
    assert start_time(pid) == began != 0
    systemctl("start", UNIT)
    async with await Client.connect(service.endpoint) as client:
        kit.client = client
        assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
        await kit.close()


async def test_a_reset_takes_the_slice_away(service: Podyard, images: Images) -> None:
    async with await Client.connect(service.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, service.folder / "tests", images.busybox, service.name)
        await kit.start(await kit.sandbox(), ["sleep", "1000"])
    systemctl("stop", UNIT)
    assert (cgroups.ROOT / "podyard.slice").exists()
    service.reset()
    assert systemctl("show", "-P", "ActiveState", "podyard.slice") == "inactive"
    await gone(cgroups.ROOT / "podyard.slice")
