"""What podyard leaves on the host: nothing."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.host import snapshot
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import ResourceExhausted
from podyard.linux import mounts

TREE = Path(os.environ.get("PODYARD_TEST_TREE") or Path(__file__).parent.parent.parent)
"""A checkout: this one, or one in which nothing has been set up yet (tests/vm)."""


@pytest.mark.alone
async def test_after_a_reset_nothing_is_left(images: Images, tmp_path: Path) -> None:
    before = snapshot()
    server = Podyard(tmp_path / "podyard")
    server.folder.mkdir()
    server.configure()
    server.spawn()
    await server.ready()
    async with await Client.connect(server.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, server.folder / "tests", images.busybox, server.name)
        mapping = api.PortMapping(container_port=80, host_port=free_port())
        shared = api.LinuxSandboxSecurityContext(namespace_options=api.NamespaceOption(pid=api.POD))
        sandbox_id = await kit.sandbox(
            port_mappings=[mapping], linux=api.LinuxPodSandboxConfig(security_context=shared)
        )
        for _ in range(3):
            await kit.start(sandbox_id, ["sleep", "1000"])
    # Killed with everything running: the reset finds it all by itself.
    server.kill()
    server.reset()
    assert not server.root.exists()
    assert not server.run.exists()
    assert not server.socket.exists()
    server.network.remove()
    assert snapshot().added_since(before) == {}


async def test_a_full_disk_is_told_and_changes_nothing(images: Images, tmp_path: Path) -> None:
    root = tmp_path / "podyard" / "root"
    root.mkdir(parents=True)
    mounts.mount_tmpfs(root, "size=6m")
    server = Podyard(tmp_path / "podyard")
    try:
        server.configure()
        server.spawn()
        await server.ready()
        async with await Client.connect(server.endpoint) as client:
            await client.images.pull_image(images.small)
            with pytest.raises(ResourceExhausted, match=r"(?i)space"):
                await client.images.pull_image(images.large)
            assert not (await client.images.image_status(images.large)).HasField("image")
            assert [list(image.repo_tags) for image in await client.images.list_images()] == [[images.small]]
            kit = Kit(client, tmp_path / "tests", images.small, server.name)
            assert await kit.shell(await kit.sandbox(), "cat /kind") == "small\n"
            await kit.close()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.terminate()
        server.network.remove()
        for point in mounts.mounted_below(tmp_path):
            mounts.unmount(point)


async def test_a_pod_without_a_host_name_has_the_kernels_whatever_the_hosts_file_says(
    images: Images, tmp_path: Path
) -> None:
    class Renamed(Podyard):
        """podyard on a host whose name did not come from /etc/hostname."""

        def argv(self) -> list[str]:
            return ["unshare", "--uts", "sh", "-c", 'hostname given-by-dhcp; exec "$@"', "sh", *super().argv()]

    server = Renamed(tmp_path / "podyard")
    server.folder.mkdir()
    server.configure()
    server.spawn()
    try:
        await server.ready()
        async with await Client.connect(server.endpoint) as client:
            await client.images.pull_image(images.busybox)
            kit = Kit(client, tmp_path / "tests", images.busybox, server.name)
            told = await kit.shell(await kit.sandbox(hostname=""), "hostname; cat /etc/hostname")
            assert told == "given-by-dhcp\ngiven-by-dhcp\n"
            await kit.close()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.terminate()
        server.reset()
        server.network.remove()


@pytest.mark.alone
def test_the_readmes_first_command_twice_and_the_one_that_takes_all_away() -> None:
    if Path("/run/podyard/podyard.sock").exists() or Path("/var/lib/podyard").exists():
        pytest.skip("a podyard is set up on this host already (/var/lib/podyard): it is left alone")
    before = snapshot()
    quickstart = str(TREE / "scripts" / "quickstart")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [quickstart, *arguments], capture_output=True, text=True, timeout=300 * PATIENCE, cwd="/", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        for _ in range(2):
            output = run()
            assert "Hello from a Pod without a cluster" in output or "Hello from a Pod" in output
            assert "writing the first page" in output
            assert "refreshing the page every second" in output
        if Path("/run/systemd/system").is_dir():
            # What comes next starts it again; the containers go on meanwhile.
            subprocess.run(["systemctl", "stop", "podyard"], check=True)
    finally:
        run("remove")
    assert snapshot().added_since(before) == {}
    assert not Path("/var/lib/podyard").exists()
    assert not Path("/run/podyard").exists()
    assert list(Path("/var/log/pods").glob("default_web_*")) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
