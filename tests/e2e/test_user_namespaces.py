"""Pods with a user namespace of their own, through the CRI: whose everything is, inside and on the host."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import crash
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard, running

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError
from podyard.linux import mounts
from podyard.manifest import parse
from podyard.pods import PodEngine
from podyard.pods.objects import ManifestObjects

FIRST = 200_000
MAPPING = api.IDMapping(host_id=FIRST, container_id=0, length=65536)
TMPFS_CAN_BE_IDMAPPED = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 3)


@pytest.fixture(scope="module")
def own() -> Iterator[Podyard]:
    """A podyard in a directory that others may pass through: whoever is root in a pod is one of them on the host.

    Not in /run, from where nothing can be run on many hosts, and whose tmpfs has no idmapped mounts before Linux 6.3.
    """
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="podyard-userns-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = Podyard(folder, runtime={"hooks": ["tests.support.crash:setup"]})
        server.environment = {crash.FOLDER: str(folder), "PYTHONPATH": f"{root}:{root / 'src'}"}
        with running(server):
            yield server


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
    # Where there is AppArmor, its default profile has no mount for anybody.
    unconfined = api.SecurityProfile(profile_type=api.SecurityProfile.Unconfined)
    linux = container(options(), capabilities=api.Capability(add_capabilities=["SYS_ADMIN"]), apparmor=unconfined)
    container_id = await kit.start(sandbox_id, ["sh", "-c", script], linux=linux)
    async with asyncio.timeout(20 * PATIENCE):
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


async def test_a_shared_pid_namespace(kit: Kit) -> None:
    shared = options(pid=api.POD)
    sandbox_id = await kit.sandbox(linux=pod(shared))
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=container(shared))
    assert await kit.exec(container_id, "sh", "-c", "readlink /proc/1/exe; cat /proc/1/uid_map") == (
        f"/init\n{0:>10} {FIRST:>10} {65536:>10}\n"
    )


async def test_a_container_that_says_nothing_joins_its_pods_namespace(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options()))
    assert (await kit.shell(sandbox_id, "cat /proc/self/uid_map")).split()[1] == str(FIRST)


async def test_the_images_user_and_its_groups(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options()))
    linux = container(options(), run_as_username="member")
    assert await kit.shell(sandbox_id, "id -u; id -g; id -G; touch ~/file", linux=linux) == "1000\n1000\n1000 50000\n"


async def test_a_user_without_an_id_on_the_host_is_refused(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options()))
    linux = container(options(), run_as_user=api.Int64Value(value=70_000))
    with pytest.raises(InvalidArgument, match="70000 is outside the mappings"):
        await kit.create(sandbox_id, ["true"], linux=linux)


async def test_privileged_in_a_user_namespace(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options(), privileged=True))
    script = "mount -t tmpfs none /tmp && echo mounted; mknod /tmp/null c 1 3 2>/dev/null || echo no device; ls /dev"
    output = await kit.shell(sandbox_id, script, linux=container(options(), privileged=True))
    assert output.startswith("mounted\nno device\n")
    assert {"null", "tty", "kmsg"} <= set(output.split())


async def test_idmapped_volumes_belong_to_the_same_ids_inside(kit: Kit) -> None:
    data = kit.folder / "data"
    data.mkdir()
    (data / "file").write_text("x")
    os.chown(data, 1000, 1000)
    sandbox_id = await kit.sandbox(linux=pod(options()))
    mapped: dict[str, Any] = {"uidMappings": [MAPPING], "gidMappings": [MAPPING]}
    volumes = [
        api.Mount(container_path="/mapped", host_path=str(data), **mapped),
        api.Mount(container_path="/file", host_path=str(data / "file"), **mapped, readonly=True),
        api.Mount(container_path="/plain", host_path=str(data)),
    ]
    script = "stat -c %u /mapped /mapped/file /file /plain; echo x > /mapped/new; touch /file 2>/dev/null || echo no"
    linux = container(options(), run_as_user=api.Int64Value(value=1000))
    assert await kit.shell(sandbox_id, script, mounts=volumes, linux=linux) == "1000\n0\n0\n65534\nno\n"
    assert (data / "new").stat().st_uid == 1000


async def test_volumes_of_the_image_start_with_its_content(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.configured)
    sandbox_id = await kit.sandbox(linux=pod(options()))
    output = await kit.shell(
        sandbox_id,
        "stat -c %u /volume /volume/file; cat /volume/file; echo x > /volume/new",
        image=api.ImageSpec(image=images.configured),
        linux=container(options()),
    )
    assert output == "1000\n1000\nin the volume\n"


async def test_an_image_as_a_volume(kit: Kit, images: Images) -> None:
    await kit.client.images.pull_image(images.configured)
    sandbox_id = await kit.sandbox(linux=pod(options()))
    volume = api.Mount(
        container_path="/image",
        image=api.ImageSpec(image=images.configured),
        image_sub_path="volume",
        readonly=True,
        uidMappings=[MAPPING],
        gidMappings=[MAPPING],
    )
    assert await kit.shell(sandbox_id, "stat -c %u /image/file", mounts=[volume], linux=container(options())) == (
        "1000\n"
    )


async def test_a_file_system_without_idmapped_mounts_is_named(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options()))
    volume = api.Mount(container_path="/mapped", host_path="/proc/sys", uidMappings=[MAPPING], gidMappings=[MAPPING])
    with pytest.raises(FailedPrecondition, match=r"/proc/sys.*idmapped"):
        await kit.create(sandbox_id, ["true"], mounts=[volume], linux=container(options()))


async def test_a_pod_survives_a_restart_of_podyard(own: Podyard, kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod(options(pid=api.POD)))
    volume = api.Mount(container_path="/v", host_path=str(kit.folder), uidMappings=[MAPPING], gidMappings=[MAPPING])
    container_id = await kit.start(
        sandbox_id, ["sleep", "1000"], mounts=[volume], linux=container(options(pid=api.POD))
    )
    own.kill()
    own.spawn()
    await own.ready()
    [sandbox] = await kit.client.runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id))
    assert sandbox.state == api.SANDBOX_READY
    assert await kit.exec(container_id, "id", "-u") == "0\n"
    again = await kit.start(sandbox_id, ["sleep", "1000"], linux=container(options(pid=api.POD)))
    assert (await kit.exec(again, "cat", "/proc/self/uid_map")).split()[1] == str(FIRST)
    await kit.close()
    assert mounts.mounted_below(own.folder) == []
    for folder in ("bundles", "pins", "sandboxes", "exits"):
        assert list((own.run / folder).iterdir()) == []


@pytest.mark.parametrize(
    "step",
    [
        "after RunPodSandbox: pinning the namespaces",
        "after RunPodSandbox: starting the infra process",
        "after CreateContainer: mounting the root file system",
        "after CreateContainer: preparing the volumes",
        "after CreateContainer: creating the process",
    ],
)
async def test_killed_at_a_step_podyard_takes_back_what_it_made(own: Podyard, kit: Kit, step: str) -> None:
    volumes = [
        api.Mount(container_path="/m", host_path=str(kit.folder), uidMappings=[MAPPING], gidMappings=[MAPPING]),
        api.Mount(container_path="/r", host_path=str(kit.folder), readonly=True, recursive_read_only=True),
        api.Mount(container_path="/i", image=api.ImageSpec(image=kit.image), image_sub_path="etc", readonly=True),
    ]
    shared = options(pid=api.POD)
    request = kit.sandbox_config(linux=pod(shared))
    wanted = kit.container_config(["sleep", "1000"], mounts=volumes, linux=container(shared))

    async def life() -> str:
        sandbox_id = await kit.sandbox(request)
        return await kit.client.runtime.create_container(sandbox_id, wanted, request)

    (own.folder / "kill").write_text(step)
    with pytest.raises(PodyardError):
        await life()
    (own.folder / "kill").unlink()
    assert own.process is not None
    own.process.wait(timeout=20 * PATIENCE)
    own.spawn()
    await own.ready()
    ready = await kit.client.runtime.list_pod_sandbox()
    known = {sandbox.id for sandbox in ready}
    assert {path.name for path in (own.run / "pins").iterdir()} == known
    # A sandbox with an infra process has the root of that one there.
    assert {path.name for path in (own.root / "containers").iterdir()} == known
    assert {point.relative_to(own.run).parts[1] for point in mounts.mounted_below(own.run)} == known
    container_id = await life()
    await kit.client.runtime.start_container(container_id)
    assert await kit.exec(container_id, "ls", "/i/passwd") == "/i/passwd\n"
    await kit.close()
    assert mounts.mounted_below(own.folder) == []


async def test_mappings_that_cannot_be_are_refused(kit: Kit) -> None:
    two = api.UserNamespace(mode=api.POD, uids=[MAPPING, MAPPING], gids=[MAPPING])
    with pytest.raises(InvalidArgument, match="two ranges"):
        await kit.sandbox(linux=pod(options(userns_options=two)))
    sandbox_id = await kit.sandbox(linux=pod(options()))
    other = userns(api.IDMapping(host_id=5, container_id=0, length=65536))
    with pytest.raises(InvalidArgument, match="differ"):
        await kit.create(sandbox_id, ["true"], linux=container(options(userns_options=other)))


async def test_a_pod_of_the_engine_has_one(kit: Kit, own: Podyard, tmp_path: Path) -> None:
    script = "id -u > /memory/who; cat /proc/self/uid_map /config/a; test $(stat -Lc %u /config/a) = 0; touch /shared/x"
    memory = "medium: Memory" if TMPFS_CAN_BE_IDMAPPED else ""
    text = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: config}}
data: {{a: hello}}
---
apiVersion: v1
kind: Pod
metadata: {{name: users}}
spec:
  hostUsers: false
  restartPolicy: Never
  volumes:
  - {{name: config, configMap: {{name: config}}}}
  - {{name: memory, emptyDir: {{{memory}}}}}
  - {{name: shared, emptyDir: {{}}}}
  containers:
  - name: main
    image: {kit.image}
    command: [sh, -ec, "{script}"]
    volumeMounts:
    - {{name: config, mountPath: /config}}
    - {{name: memory, mountPath: /memory}}
    - {{name: shared, mountPath: /shared}}
"""
    manifest = parse(text.encode(), "users.yaml")
    objects = ManifestObjects(manifest.config_maps)
    engine = PodEngine(kit.client, own.folder / "pods", log_root=tmp_path / "logs", objects=objects, poll=0.1)
    try:
        await engine.run(manifest.pods[0])
        await asyncio.wait_for(engine.keep(manifest.pods[0], owned=lambda view: True), 30 * PATIENCE)
        (view,) = await engine.find("users")
        lines = [line.content().decode().split() async for line in engine.logs(view)]
        assert ([one.exit_code for one in view.containers], lines) == ([0], [["0", "65536", "65536"], ["hello"]])
        (found,) = (own.folder / "pods").glob("*/volumes/shared/x")
        assert found.stat().st_uid == 0  # the mount is idmapped: on the host it is the host's root's
    finally:
        await engine.remove("users", "default")
