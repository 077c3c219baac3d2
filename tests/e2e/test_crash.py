"""podyard killed with SIGKILL: containers go on, nothing is lost or left, and requests can be repeated."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support import crash
from tests.support.host import snapshot
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import WAIT_LIMIT, Kit
from tests.support.servers import CGROUP_DRIVER, OCI_RUNTIME, Podyard, running

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError

COUNT = 'i=0; while [ $i -lt 60 ]; do echo "line $i"; i=$((i+1)); sleep 0.05; done; exit 5'


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Podyard]:
    """A podyard of the test's own."""
    server = Podyard(tmp_path / "own", runtime={"hooks": ["tests.support.crash:setup"]})
    server.folder.mkdir()
    server.environment = {
        crash.FOLDER: str(server.folder),
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }
    with running(server):
        yield server


@asynccontextmanager
async def connected(server: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(server.endpoint) as client:
        await client.images.pull_image(images.busybox)
        yield Kit(client, server.folder / "tests", images.busybox, server.name)


async def restart(server: Podyard) -> None:
    if server.process is not None and server.process.poll() is None:
        server.kill()
    server.spawn()
    await server.ready()


async def test_containers_go_on_and_nothing_is_lost(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        sandbox_id = await kit.sandbox()
        counting = await kit.start(sandbox_id, ["sh", "-c", COUNT])
        pid = await kit.start(sandbox_id, ["sleep", "1000"])
        before = (await kit.client.runtime.container_status(pid, verbose=True)).info
        for _ in range(3):
            await restart(own)
        status = await kit.ended(counting)
        assert (status.exit_code, status.reason) == (5, "Error")
        assert kit.output(status) == "".join(f"line {number}\n" for number in range(60))
        assert (await kit.client.runtime.container_status(pid, verbose=True)).info == before
        assert await kit.exec(pid, "echo", "still here") == "still here\n"
        await kit.client.runtime.stop_container(pid, 0)
        assert (await kit.status(pid)).exit_code == 137
        await kit.close()


async def test_an_end_while_podyard_was_away_is_reported(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sh", "-c", "sleep 1; echo last words; exit 9"])
        own.kill()
        exit_file = own.run / "exits" / container_id
        async with asyncio.timeout(WAIT_LIMIT):
            while not exit_file.exists():
                await asyncio.sleep(0.05)
        ended_at = exit_file.stat().st_mtime_ns
        own.spawn()
        await own.ready()
        status = await kit.status(container_id)
        assert (status.state, status.exit_code, status.finished_at) == (api.CONTAINER_EXITED, 9, ended_at)
        assert kit.output(status) == "last words\n"
        await kit.close()


async def test_a_killed_monitor_is_survived(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sleep", "1000"])
        os.kill(int((own.run / "bundles" / container_id / "monitor-pid").read_text()), signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
        await kit.client.runtime.stop_container(container_id, 0)
        status = await kit.status(container_id)
        assert (status.state, status.exit_code, status.reason) == (api.CONTAINER_EXITED, 137, "Error")
        assert "monitor" in status.message
        await kit.close()


async def test_a_monitor_that_hangs_holds_no_stop_up_for_ever(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        container_id = await kit.start(await kit.sandbox(), ["sleep", "1000"])
        os.kill(int((own.run / "bundles" / container_id / "monitor-pid").read_text()), signal.SIGSTOP)
        await kit.client.runtime.stop_container(container_id, 0)
        status = await kit.status(container_id)
        assert (status.state, status.exit_code, status.reason) == (api.CONTAINER_EXITED, 137, "Error")
        assert "monitor" in status.message
        await kit.close()


async def test_sigterm_ends_podyard_and_no_container(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        sandbox_id = await kit.sandbox()
        container_id = await kit.start(sandbox_id, ["sleep", "1000"])
        assert own.terminate() == 0
        assert not own.socket.exists()
        own.spawn()
        await own.ready()
        assert (await kit.status(container_id)).state == api.CONTAINER_RUNNING
        await kit.close()


SLOW_START = """#!/bin/sh
# The first start of the container that is named in "slow" is over only while a second one is under way.
case "$*" in *" start $(cat {folder}/slow)")
    if mkdir {folder}/first; then
        while [ ! -e {folder}/second ]; do sleep 0.02; done
        {runtime} "$@"
        touch {folder}/over
        exit
    fi
    touch {folder}/second
    while [ ! -e {folder}/over ]; do sleep 0.02; done
esac
exec {runtime} "$@"
"""


async def test_a_start_that_outlives_podyard_is_no_failure(own: Podyard, images: Images) -> None:
    (own.folder / "slow").touch()
    await use_runtime(own, SLOW_START)
    async with connected(own, images) as kit:
        container_id = await kit.create(await kit.sandbox(), ["sleep", "1000"])
        (own.folder / "slow").write_text(container_id)
        starting = asyncio.create_task(kit.client.runtime.start_container(container_id))
        await until((own.folder / "first").exists)
        own.kill()
        with pytest.raises(PodyardError):
            await starting
        await restart(own)
        assert (own.folder / "over").exists()
        status = await kit.status(container_id)
        assert (status.state, status.reason, status.message) == (api.CONTAINER_RUNNING, "", "")
        assert await kit.exec(container_id, "echo", "alive") == "alive\n"
        await kit.close()


SLOW_CREATE = """#!/bin/sh
# Once there is "slow", the first container is made only when there is "go", too.
case "$*" in *" create "*)
    if [ -e {folder}/slow ] && mkdir {folder}/first; then
        while [ ! -e {folder}/go ]; do sleep 0.02; done
    fi
esac
exec {runtime} "$@"
"""


@pytest.mark.alone
async def test_a_container_whose_making_outlives_podyard_is_taken_away(own: Podyard, images: Images) -> None:
    await use_runtime(own, SLOW_CREATE)
    async with connected(own, images) as kit:
        sandbox_id = await kit.sandbox()
        before = snapshot()
        (own.folder / "slow").touch()
        creating = asyncio.create_task(kit.create(sandbox_id, ["sleep", "1000"], name="main"))
        await until((own.folder / "first").exists)
        own.kill()
        with pytest.raises(PodyardError):
            await creating
        await restart(own)
        (own.folder / "go").touch()

        def left() -> list[str]:
            found = snapshot().added_since(before).get("processes", [])
            return [line for line in found if str(own.folder) in line and "podyard serve" not in line]

        await until(lambda: not left())
        assert (await kit.status(await kit.start(sandbox_id, ["sleep", "1000"], name="main"))).reason == ""
        await kit.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_LIMIT):
        while not what():
            await asyncio.sleep(0.02)


async def use_runtime(server: Podyard, script: str) -> None:
    """Let podyard use an OCI runtime that goes through a script."""
    path = server.folder / "slow-runtime"
    path.write_text(script.format(folder=server.folder, runtime=shutil.which(OCI_RUNTIME or "runc")))
    path.chmod(0o755)
    server.settings["runtime"] = {"candidates": [str(path)], "cgroup_driver": CGROUP_DRIVER}
    server.configure()
    await restart(server)


async def life(kit: Kit, name: str) -> None:
    """A pod from its beginning to its end; each call may be a repetition."""
    shared = api.NamespaceOption(pid=api.POD)
    config = kit.sandbox_config(
        name,
        linux=api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(namespace_options=shared)),
        port_mappings=[api.PortMapping(container_port=80, host_port=40080)],
    )
    runtime = kit.client.runtime
    [*known] = await runtime.list_pod_sandbox()
    # A sandbox that a crash caught while it was being removed is removed; otherwise the request is repeated.
    stopped = [sandbox for sandbox in known if sandbox.state == api.SANDBOX_NOTREADY]
    if not stopped:
        sandbox_id = await runtime.run_pod_sandbox(config)
        container = kit.container_config(
            ["sleep", "1000"],
            name="main",
            linux=api.LinuxContainerConfig(
                security_context=api.LinuxContainerSecurityContext(namespace_options=shared)
            ),
        )
        container_id = await runtime.create_container(sandbox_id, container, config)
        status = await kit.status(container_id)
        if status.state == api.CONTAINER_CREATED:
            await runtime.start_container(container_id)
            assert await kit.exec(container_id, "echo", "alive") == "alive\n"
        if status.state != api.CONTAINER_EXITED:
            limits = api.LinuxContainerResources(cpu_shares=300)
            await runtime.update_container_resources(container_id, limits)
            assert (await kit.status(container_id)).resources.linux.cpu_shares == 300
            await runtime.update_pod_sandbox_resources(sandbox_id, limits)
        await runtime.stop_container(container_id, 1)
        assert (await kit.status(container_id)).state == api.CONTAINER_EXITED
        await runtime.remove_container(container_id)
        await runtime.stop_pod_sandbox(sandbox_id)
    for sandbox in await runtime.list_pod_sandbox():
        await runtime.remove_pod_sandbox(sandbox.id)
    assert await runtime.list_containers() == []


@pytest.mark.alone
async def test_killed_at_every_step_of_every_operation(own: Podyard, images: Images) -> None:
    async with connected(own, images) as kit:
        await life(kit, "rehearsal")
        before = snapshot()
        steps = list(dict.fromkeys((own.folder / "steps").read_text().splitlines()))
        assert len(steps) > 40, steps
        for number, step in enumerate(steps):
            (own.folder / "kill").write_text(step)
            try:
                await life(kit, f"life-{number}")
                died = own.process is not None and own.process.poll() is not None
            except PodyardError:
                died = True
            (own.folder / "kill").unlink()
            assert died, f"{step}: never reached"
            own.process.wait(timeout=10 * PATIENCE) if own.process else None
            await restart(own)
            await life(kit, f"life-{number}")
            left = snapshot().added_since(before)
            left.pop("processes", None)
            assert left == {}, f"{step}: {left}"
        await asyncio.sleep(0)
        leftovers = [
            line for line in snapshot().added_since(before).get("processes", []) if "podyard serve" not in line
        ]
        assert leftovers == []
        for folder in ("bundles", "pins", "sandboxes", "exits"):
            assert list((own.run / folder).iterdir()) == []
        assert list((own.root / "containers").iterdir()) == []
