"""Fields of the pod and container configuration that no other suite covers, through the CRI."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound, PodyardError, Unimplemented
from podyard.linux import cgroups, mounts

LOCALHOST = api.SecurityProfile.Localhost


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """A podyard with a second runtime handler and CDI files of the test's own."""
    folder = tmp_path_factory.mktemp("fields")
    settings: dict[str, object] = {
        "runtime": {"cdi_dirs": [str(folder / "cdi-static"), str(folder / "cdi-dynamic")]},
        "runtime.handlers.second": {"path": "runc", "options": ["--debug", f"--log={folder / 'second.log'}"]},
    }
    server = Podyard(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.reset()


@pytest.fixture
async def ours(own: Podyard, images: Images, tmp_path: Path) -> AsyncIterator[Kit]:
    """Sandboxes and containers in that podyard."""
    async with await Client.connect(own.endpoint) as client:
        await client.images.pull_image(images.busybox)
        made = Kit(client, tmp_path, images.busybox, own.name)
        try:
            yield made
        finally:
            await made.close()


def security(**fields: object) -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(security_context=api.LinuxContainerSecurityContext(**fields))  # type: ignore[arg-type]


# What both runtimes have


async def test_a_device_whose_host_path_is_a_link(kit: Kit) -> None:
    (kit.folder / "link").symlink_to("/dev/full")
    sandbox_id = await kit.sandbox()
    device = api.Device(container_path="/dev/linked", host_path=str(kit.folder / "link"), permissions="rwm")
    output = await kit.shell(sandbox_id, "stat -c '%t %T' /dev/linked", devices=[device])
    assert output == "1 7\n"


@pytest.mark.parametrize("profile", ["runtime/default", "unconfined"])
async def test_the_deprecated_name_of_a_seccomp_profile(kit: Kit, profile: str) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(
        sandbox_id, "grep Seccomp: /proc/self/status", linux=security(seccomp_profile_path=profile)
    )
    assert output.split()[1] == ("2" if profile == "runtime/default" else "0")


@pytest.mark.parametrize("field", ["apparmor", "apparmor_profile"])
async def test_an_apparmor_profile_that_the_host_has_not(kit: Kit, field: str) -> None:
    if Path("/sys/module/apparmor/parameters/enabled").exists():
        pytest.skip("AppArmor is enabled here")
    profile: object = "localhost/no-such-profile"
    if field == "apparmor":
        profile = api.SecurityProfile(profile_type=LOCALHOST, localhost_ref="no-such-profile")
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match=r"(?i)apparmor"):
        await kit.create(sandbox_id, ["true"], linux=security(**{field: profile}))


async def test_a_runtime_handler_that_is_not_there(kit: Kit) -> None:
    with pytest.raises(PodyardError, match="no-such-handler"):
        await kit.client.runtime.run_pod_sandbox(kit.sandbox_config(), "no-such-handler")


async def test_overhead_and_resources_of_a_pod_are_kept(kit: Kit) -> None:
    linux = api.LinuxPodSandboxConfig(
        overhead=api.LinuxContainerResources(cpu_shares=77), resources=api.LinuxContainerResources(cpu_quota=50_000)
    )
    sandbox_id = await kit.sandbox(linux=linux)
    answer = await kit.client.runtime.pod_sandbox_status(sandbox_id, verbose=True)
    kept = json.loads(answer.info["info"])["config"]["linux"]
    assert int(kept["overhead"]["cpu_shares"]) == 77
    assert int(kept["resources"]["cpu_quota"]) == 50_000


async def test_a_read_only_path_of_the_request(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(sandbox_id, "touch /etc/x 2>&1 || true", linux=security(readonly_paths=["/etc"]))
    assert "Read-only" in output


async def test_a_shared_pid_namespace_with_one_container(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    target = await kit.start(sandbox_id, ["sleep", "4321"])
    joined = api.NamespaceOption(pid=api.TARGET, target_id=target)
    assert "sleep 4321" in await kit.shell(sandbox_id, "ps -o args", linux=security(namespace_options=joined))
    elsewhere = await kit.sandbox()
    with pytest.raises(PodyardError, match="sandbox"):
        await kit.create(elsewhere, ["true"], linux=security(namespace_options=joined))


async def test_a_port_of_one_of_the_hosts_addresses(kit: Kit) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mapping = api.PortMapping(protocol=api.TCP, container_port=8080, host_port=port, host_ip="127.0.0.1")
    sandbox_id = await kit.sandbox(port_mappings=[mapping])
    await kit.start(sandbox_id, ["httpd", "-f", "-p", "8080"])
    address = (await kit.client.runtime.pod_sandbox_status(sandbox_id)).status.network.ip
    async with asyncio.timeout(20 * PATIENCE):
        while not await asyncio.to_thread(connects, address, 8080):
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(connects, "127.0.0.1", port)
    gateway = f"{address.rpartition('.')[0].rpartition('.')[0]}.0.1"
    assert not await asyncio.to_thread(connects, gateway, port)


def connects(address: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((address, port)) == 0


# What only podyard has, or an own podyard is needed for


async def test_only_the_groups_that_were_asked_for(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    fields = {"run_as_username": "member", "supplemental_groups": [7], "supplemental_groups_policy": api.Strict}
    assert await ours.shell(sandbox_id, "id -G", linux=security(**fields)) == "1000 7\n"
    status = await ours.status(await ours.create(sandbox_id, ["true"], linux=security(**fields)))
    assert list(status.user.linux.supplemental_groups) == [1000, 7]


async def test_the_images_specification_comes_back(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    [image] = await ours.client.images.list_images(api.ImageFilter(image=api.ImageSpec(image=ours.image)))
    spec = api.ImageSpec(
        image=ours.image,
        annotations={"note": "x"},
        user_specified_image="busybox",
        runtime_handler="second",
        image_ref=image.id,
    )
    volume = api.Mount(container_path="/v", image=spec, readonly=True)
    status = await ours.status(await ours.create(sandbox_id, ["true"], image=spec, mounts=[volume]))
    assert (status.image, list(status.mounts)) == (spec, [volume])


async def test_another_image_than_the_one_that_is_meant(ours: Kit, images: Images) -> None:
    await ours.client.images.pull_image(images.small)
    [other] = await ours.client.images.list_images(api.ImageFilter(image=api.ImageSpec(image=images.small)))
    wrong = api.ImageSpec(image=ours.image, image_ref=other.id)
    sandbox_id = await ours.sandbox()
    with pytest.raises(FailedPrecondition, match="pull it again"):
        await ours.create(sandbox_id, ["true"], image=wrong)
    with pytest.raises(FailedPrecondition, match="pull it again"):
        await ours.create(sandbox_id, ["true"], mounts=[api.Mount(container_path="/v", image=wrong, readonly=True)])


async def test_the_signal_that_the_request_wants(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    script = "trap 'exit 7' USR1; trap 'exit 8' TERM; echo up; while :; do sleep 0.1; done"
    container_id = await ours.start(sandbox_id, ["sh", "-c", script], stop_signal=api.SIGNAL_SIGUSR1)
    async with asyncio.timeout(20 * PATIENCE):
        while "up" not in ours.output(await ours.status(container_id)):
            await asyncio.sleep(0.05)
    await ours.client.runtime.stop_container(container_id, 20)
    status = await ours.status(container_id)
    assert (status.exit_code, status.stop_signal) == (7, api.SIGNAL_SIGUSR1)


@pytest.mark.parametrize("path", ["../outside.log", "/absolute.log", "a/../../outside.log"])
async def test_a_log_outside_its_directory(ours: Kit, path: str) -> None:
    sandbox_id = await ours.sandbox()
    with pytest.raises(InvalidArgument, match="log_path"):
        await ours.create(sandbox_id, ["true"], log_path=path)


async def test_the_cgroup_of_the_client(ours: Kit) -> None:
    driver = (await ours.client.runtime.runtime_config()).linux.cgroup_driver
    parent = "pytestfields.slice" if driver == api.SYSTEMD else f"/pytest-fields-{os.getpid()}"
    sandbox_id = await ours.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))
    try:
        container_id = await ours.start(sandbox_id, ["sleep", "1000"])
        info = json.loads((await ours.client.runtime.container_status(container_id, verbose=True)).info["info"])
        assert f"{parent}/" in Path(f"/proc/{info['pid']}/cgroup").read_text()
        await ours.close()
    finally:
        if driver != api.SYSTEMD:
            cgroups.remove(parent)


async def test_a_sandbox_has_no_target(ours: Kit) -> None:
    options = api.NamespaceOption(pid=api.TARGET, target_id="0" * 64)
    linux = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(namespace_options=options))
    with pytest.raises(InvalidArgument, match="TARGET"):
        await ours.sandbox(linux=linux)


async def test_mount_options(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    (ours.folder / "script").write_text("#!/bin/sh\necho ran\n")
    (ours.folder / "script").chmod(0o755)
    volume = api.Mount(container_path="/v", host_path=str(ours.folder), mount_options=["noexec"])
    assert "denied" in await ours.shell(sandbox_id, "/v/script 2>&1 || true", mounts=[volume])


async def test_read_only_at_all_depths(ours: Kit) -> None:
    below = ours.folder / "source" / "below"
    below.mkdir(parents=True)
    mounts.mount_tmpfs(below, "")
    try:
        status = await ours.client.runtime.status()
        assert all(handler.features.recursive_read_only_mounts for handler in status.runtime_handlers)
        sandbox_id = await ours.sandbox()
        path = str(ours.folder / "source")
        volumes = [
            api.Mount(container_path="/plain", host_path=path, readonly=True),
            api.Mount(container_path="/deep", host_path=path, readonly=True, recursive_read_only=True),
        ]
        script = "for f in /plain/below/x /deep/below/y /deep/z; do touch $f 2>/dev/null && echo $f; done; true"
        assert await ours.shell(sandbox_id, script, mounts=volumes) == "/plain/below/x\n"
    finally:
        mounts.unmount(below)


async def test_a_volume_with_mappings_of_its_own(ours: Kit) -> None:
    (ours.folder / "data").mkdir()
    (ours.folder / "data" / "file").touch()
    mapping = api.IDMapping(container_id=0, host_id=1000, length=10)
    volume = api.Mount(
        container_path="/v", host_path=str(ours.folder / "data"), uidMappings=[mapping], gidMappings=[mapping]
    )
    sandbox_id = await ours.sandbox()
    linux = security(run_as_username="member")
    script = "stat -c %u:%g /v/file; echo x > /v/file; touch /v/new"
    assert await ours.shell(sandbox_id, script, mounts=[volume], linux=linux) == "1000:1000\n"
    assert (ours.folder / "data" / "new").stat().st_uid == 0


async def test_an_image_as_a_volume(ours: Kit, images: Images) -> None:
    await ours.client.images.pull_image(images.layered)
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/image", image=api.ImageSpec(image=images.layered), readonly=True)
    script = "cat /image/a/replaced; ls /image; touch /image/x 2>&1; /image/bin/busybox echo ran 2>&1; sleep 1000"
    container_id = await ours.start(sandbox_id, ["sh", "-c", script], mounts=[volume])
    volume.image.image_ref = (await ours.client.images.image_status(images.layered)).image.id
    await ours.client.images.remove_image(images.layered)
    assert await ours.exec(container_id, "cat", "/image/opaque/new") == "new\n"
    assert list((await ours.status(container_id)).mounts) == [volume]
    await ours.client.runtime.stop_container(container_id, 0)
    output = ours.output(await ours.status(container_id))
    assert output.startswith("new\n")
    assert "gone" not in output.split()
    assert "Read-only" in output
    assert output.endswith("ran\n")


async def test_a_directory_of_an_image_as_a_volume(ours: Kit, images: Images) -> None:
    await ours.client.images.pull_image(images.configured)
    sandbox_id = await ours.sandbox()
    volume = api.Mount(
        container_path="/v",
        image=api.ImageSpec(image=images.configured),
        image_sub_path="etc/../volume",
        readonly=True,
    )
    assert await ours.shell(sandbox_id, "cat /v/file; ls /v", mounts=[volume]) == "in the volume\nfile\n"


@pytest.mark.parametrize("path", ["no/such/directory", "etc/passwd", "../../../../../../../../sys/kernel"])
async def test_a_directory_that_an_image_has_not(ours: Kit, path: str) -> None:
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", image=api.ImageSpec(image=ours.image), image_sub_path=path, readonly=True)
    with pytest.raises(InvalidArgument, match=f"{path}.*is no directory there"):
        await ours.create(sandbox_id, ["true"], mounts=[volume])


async def test_a_volumes_image_that_is_not_here(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", image=api.ImageSpec(image="localhost:1/no-such-image:1"), readonly=True)
    with pytest.raises(NotFound, match="no-such-image"):
        await ours.create(sandbox_id, ["true"], mounts=[volume])


async def test_nothing_of_a_volume_is_left(own: Podyard, ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    volumes = [
        api.Mount(container_path="/image", image=api.ImageSpec(image=ours.image), image_sub_path="etc", readonly=True),
        api.Mount(container_path="/deep", host_path=str(ours.folder), readonly=True, recursive_read_only=True),
    ]
    container_id = await ours.start(sandbox_id, ["true"], mounts=volumes)
    await ours.ended(container_id)
    await ours.client.runtime.stop_pod_sandbox(sandbox_id)
    assert mounts.mounted_below(own.run) == mounts.mounted_below(own.root) == []
    await ours.client.runtime.remove_container(container_id)
    assert list((own.root / "containers").iterdir()) == []


CDI_FILE = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/device",
    "containerEdits": {"env": ["SHARED=once"]},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["ONE=1"],
                "deviceNodes": [{"path": "/dev/cdi-full", "hostPath": "/dev/full", "permissions": "rw"}],
                "additionalGids": [4242],
            },
        },
        {"name": "two", "containerEdits": {"env": ["TWO=2", "SHARED=changed"]}},
    ],
}


async def test_cdi_devices_by_field_and_by_annotation(own: Podyard, ours: Kit) -> None:
    for name in ("cdi-static", "cdi-dynamic"):
        (own.folder / name).mkdir(exist_ok=True)
    (own.folder / "cdi-static" / "example.json").write_text(json.dumps(CDI_FILE))
    hook = ours.folder / "hook"
    hook.write_text(f"#!/bin/sh\ncat > {ours.folder}/hooked\n")
    hook.chmod(0o755)
    (own.folder / "cdi-dynamic" / "mounts.yaml").write_text(
        "cdiVersion: 1.0.0\n"
        "kind: example.com/volume\n"
        "devices:\n"
        "- name: data\n"
        "  containerEdits:\n"
        f"    mounts: [{{hostPath: {ours.folder}, containerPath: /cdi, options: [ro, rbind]}}]\n"
        f"    hooks: [{{hookName: createRuntime, path: {hook}}}]\n"
    )
    sandbox_id = await ours.sandbox()
    output = await ours.shell(
        sandbox_id,
        "echo $SHARED $ONE $TWO; echo x 2>&1 > /dev/cdi-full | grep -o 'No space'; ls /cdi/hook; id -G",
        CDI_devices=[api.CDIDevice(name="example.com/device=one")],
        annotations={"cdi.k8s.io/plugin": "example.com/device=two,example.com/volume=data"},
    )
    assert output == "changed 1 2\nNo space\n/cdi/hook\n0 4242\n"
    assert json.loads((ours.folder / "hooked").read_text())["status"]


async def test_a_cdi_device_that_no_file_has(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    with pytest.raises(FailedPrecondition, match=r"example\.com/device=none"):
        await ours.create(sandbox_id, ["true"], CDI_devices=[api.CDIDevice(name="example.com/device=none")])
    with pytest.raises(InvalidArgument, match="vendor/class=device"):
        await ours.create(sandbox_id, ["true"], annotations={"cdi.k8s.io/x": "nonsense"})


async def test_a_second_runtime_handler(own: Podyard, ours: Kit) -> None:
    config = ours.sandbox_config()
    sandbox_id = await ours.client.runtime.run_pod_sandbox(config, "second")
    ours.configs[sandbox_id] = config
    answer = await ours.client.runtime.pod_sandbox_status(sandbox_id, verbose=True)
    assert answer.status.runtime_handler == json.loads(answer.info["info"])["runtimeHandler"] == "second"
    assert await ours.shell(sandbox_id, "echo runs") == "runs\n"
    # Its own options, which the default handler's runtime has not.
    assert "level=debug" in (own.folder / "second.log").read_text()
    status = await ours.client.runtime.status()
    assert {"", "second"} <= {handler.name for handler in status.runtime_handlers}


async def test_sysctls_with_slashes(ours: Kit) -> None:
    sysctls = {"net/core/somaxconn": "555", "net/ipv4/conf/default.1/rp_filter": "1"}
    with pytest.raises(InvalidArgument, match=r"default\.1"):
        await ours.sandbox(linux=api.LinuxPodSandboxConfig(sysctls=sysctls))
    sysctls = {"net/core/somaxconn": "555", "kernel/msgmax": "4096"}
    sandbox_id = await ours.sandbox(linux=api.LinuxPodSandboxConfig(sysctls=sysctls))
    assert await ours.shell(sandbox_id, "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax") == "555\n4096\n"


async def test_files_of_cgroup_v2(ours: Kit) -> None:
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(unified={"memory.high": "67108864"}))
    sandbox_id = await ours.sandbox()
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        with pytest.raises(FailedPrecondition, match="cgroup v2"):
            await ours.create(sandbox_id, ["true"], linux=linux)
    else:
        assert await ours.shell(sandbox_id, "cat /sys/fs/cgroup/memory.high", linux=linux) == "67108864\n"


async def test_ambient_capabilities(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    wanted = api.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])
    linux = security(capabilities=wanted, run_as_username="member")
    output = await ours.shell(sandbox_id, "grep CapEff /proc/self/status", linux=linux)
    assert int(output.split()[1], 16) == 1 << 10


async def test_oom_score_adj(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(oom_score_adj=500))
    assert await ours.shell(sandbox_id, "cat /proc/self/oom_score_adj", linux=linux) == "500\n"


async def test_processors_of_a_container(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    linux = api.LinuxContainerConfig(resources=api.LinuxContainerResources(cpuset_cpus="0", cpuset_mems="0"))
    assert (await ours.shell(sandbox_id, "grep Cpus_allowed_list /proc/self/status", linux=linux)).split()[1] == "0"


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "idmapped"])
@pytest.mark.parametrize("propagation", [api.PROPAGATION_HOST_TO_CONTAINER, api.PROPAGATION_BIDIRECTIONAL])
async def test_mounts_made_later(ours: Kit, propagation: api.MountPropagation.ValueType, mapped: bool) -> None:
    shared = ours.folder / "shared"
    (shared / "host").mkdir(parents=True)
    (shared / "container").mkdir()
    mounts.bind(str(shared), shared)
    subprocess.run(["mount", "--make-shared", str(shared)], check=True)
    try:
        privileged = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(privileged=True))
        sandbox_id = await ours.sandbox(linux=privileged)
        volume = api.Mount(container_path="/shared", host_path=str(shared), propagation=propagation)
        if mapped:
            volume.uidMappings.add(container_id=0, host_id=0, length=10)
            volume.gidMappings.add(container_id=0, host_id=0, length=10)
        container_id = await ours.start(sandbox_id, ["sleep", "1000"], mounts=[volume], linux=security(privileged=True))
        mounts.mount_tmpfs(shared / "host", "")
        (shared / "host" / "file").touch()
        assert await ours.exec(container_id, "ls", "/shared/host") == "file\n"
        await ours.exec(container_id, "mount", "-t", "tmpfs", "none", "/shared/container")
        seen = os.path.ismount(shared / "container")
        assert seen == (propagation == api.PROPAGATION_BIDIRECTIONAL)
        await ours.close()
    finally:
        mounts.unmount_below(shared)


async def test_a_private_mount_keeps_no_directory_of_the_host_busy(ours: Kit) -> None:
    source = ours.folder / "busy"
    (source / "below").mkdir(parents=True)
    mounts.mount_tmpfs(source / "below", "")
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", host_path=str(source), readonly=True, recursive_read_only=True)
    container_id = await ours.start(sandbox_id, ["sleep", "1000"], mounts=[volume])
    assert "Read-only" in await ours.exec(container_id, "sh", "-c", "touch /v/below/x 2>&1 || true")
    mounts.unmount_below(source)
    (source / "below").rmdir()


async def test_a_label_that_this_host_cannot_give(ours: Kit) -> None:
    if Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("SELinux is enabled here")
    sandbox_id = await ours.sandbox()
    with pytest.raises(FailedPrecondition, match="SELinux"):
        await ours.create(sandbox_id, ["true"], linux=security(selinux_options=api.SELinuxOption(level="s0:c1")))
    # To relabel means nothing there, as in containerd: clients set it without asking.
    volume = api.Mount(container_path="/v", host_path=str(ours.folder), selinux_relabel=True)
    assert await ours.shell(sandbox_id, "test -d /v && echo mounted", mounts=[volume]) == "mounted\n"


async def test_windows_is_not_built(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    with pytest.raises(Unimplemented, match="windows"):
        await ours.create(sandbox_id, ["true"], windows=api.WindowsContainerConfig())
    with pytest.raises(Unimplemented, match="windows"):
        await ours.sandbox(windows=api.WindowsPodSandboxConfig())
