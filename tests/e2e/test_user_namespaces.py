"""Pods with a user namespace of their own, through the CRI: whose everything is, inside and on the host."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api

FIRST = 200_000
MAPPING = api.IDMapping(host_id=FIRST, container_id=0, length=65536)


@pytest.fixture(scope="module")
def own() -> Iterator[Podyard]:
    """A podyard in a directory that others may pass through: whoever is root in a pod is one of them on the host."""
    folder = Path(tempfile.mkdtemp(prefix="podyard-userns-", dir="/run"))
    folder.chmod(0o711)
    server = Podyard(folder)
    server.bridge, server.subnet = "pytest-p2", "10.246.0.0/16"
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.reset()
        shutil.rmtree(folder)


@pytest.fixture
async def kit(own: Podyard, images: Images, tmp_path: Path) -> AsyncIterator[Kit]:
    async with await Client.connect(own.endpoint) as client:
        await client.images.pull_image(images.busybox)
        made = Kit(client, tmp_path, images.busybox, own.name)
        try:
            yield made
        finally:
            await made.close()


def userns(mapping: api.IDMapping = MAPPING) -> api.UserNamespace:
    return api.UserNamespace(mode=api.POD, uids=[mapping], gids=[mapping])


def options(**fields: object) -> api.NamespaceOption:
    values: dict[str, object] = {"pid": api.CONTAINER, "userns_options": userns()}
    return api.NamespaceOption(**(values | fields))  # type: ignore[arg-type]


def pod(namespace_options: api.NamespaceOption, **fields: object) -> api.LinuxPodSandboxConfig:
    return api.LinuxPodSandboxConfig(
        security_context=api.LinuxSandboxSecurityContext(namespace_options=namespace_options, **fields)  # type: ignore[arg-type]
    )


def container(namespace_options: api.NamespaceOption, **fields: object) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(
        security_context=api.LinuxContainerSecurityContext(namespace_options=namespace_options, **fields)  # type: ignore[arg-type]
    )


async def test_the_handlers_say_that_they_can(kit: Kit) -> None:
    status = await kit.client.runtime.status()
    assert all(handler.features.user_namespaces for handler in status.runtime_handlers)
    assert status.features.user_namespaces_host_network


async def test_root_inside_is_nobody_outside(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options()))
    script = (
        "cat /proc/self/uid_map; id -u; stat -c %u /etc/passwd /member-home /dev/shm /; touch /tmp/made; "
        "mount -t tmpfs none /tmp && echo mounted; hostname; ip address show eth0 | grep -c inet; "
        "echo x > /dev/null; echo y > /dev/shm/y; cat /etc/hosts > /dev/null; echo done; sleep 1000"
    )
    linux = container(options(), capabilities=api.Capability(add_capabilities=["SYS_ADMIN"]))
    container_id = await kit.start(sandbox_id, ["sh", "-c", script], linux=linux)
    async with asyncio.timeout(20):
        while "done" not in kit.output(await kit.status(container_id)):
            await asyncio.sleep(0.05)
    output = await kit.exec(container_id, "sh", "-c", "id -u; cat /proc/self/gid_map")
    assert output.split() == ["0", "0", str(FIRST), "65536"]
    info = (await kit.client.runtime.container_status(container_id, verbose=True)).info["info"]
    pid = json.loads(info)["pid"]
    assert Path(f"/proc/{pid}").stat().st_uid == FIRST
    await kit.client.runtime.stop_container(container_id, 0)
    text = kit.output(await kit.status(container_id))
    assert text.split()[:3] == ["0", str(FIRST), "65536"]
    assert text.split()[3:] == ["0", "0", "1000", "0", "0", "mounted", kit.configs[sandbox_id].hostname, "2", "done"]


async def test_with_the_hosts_network(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options(network=api.NODE)))
    output = await kit.shell(
        sandbox_id, "cat /proc/self/uid_map; ls /sys/class/net", linux=container(options(network=api.NODE))
    )
    assert output.split()[1] == str(FIRST)
    assert {path.name for path in Path("/sys/class/net").iterdir()} & set(output.split()[3:])
