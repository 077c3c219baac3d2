"""Fields of the pod and container configuration that no other suite covers, through the CRI."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit, security

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError, Unimplemented

LOCALHOST = api.SecurityProfile.Localhost

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


# What only podyard has


async def test_only_the_groups_that_were_asked_for(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    fields = {"run_as_username": "member", "supplemental_groups": [7], "supplemental_groups_policy": api.Strict}
    assert await ours.shell(sandbox_id, "id -G", linux=security(**fields)) == "1000 7\n"
    status = await ours.status(await ours.create(sandbox_id, ["true"], linux=security(**fields)))
    assert list(status.user.linux.supplemental_groups) == [1000, 7]


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


@pytest.mark.parametrize(
    ("directory", "path", "field"), [("relative", "c.log", "log_directory"), ("/tmp", "c:1.log", "log_path")]
)
async def test_a_log_that_cannot_be_written(ours: Kit, directory: str, path: str, field: str) -> None:
    sandbox_id = await ours.sandbox(log_directory=directory)
    with pytest.raises(InvalidArgument, match=field):
        await ours.create(sandbox_id, ["true"], log_path=path)


async def test_a_sandbox_has_no_target(ours: Kit) -> None:
    options = api.NamespaceOption(pid=api.TARGET, target_id="0" * 64)
    linux = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(namespace_options=options))
    with pytest.raises(InvalidArgument, match="TARGET"):
        await ours.sandbox(linux=linux)


@pytest.mark.parametrize("kind", ["network", "pid", "ipc", "userns_options"])
async def test_a_namespace_mode_that_there_is_not(ours: Kit, kind: str) -> None:
    options = api.NamespaceOption(pid=api.CONTAINER)
    if kind == "userns_options":
        options.userns_options.mode = 7  # type: ignore[assignment]
    else:
        setattr(options, kind, 7)
    with pytest.raises(InvalidArgument, match=kind):
        pod = api.LinuxSandboxSecurityContext(namespace_options=options)
        await ours.sandbox(linux=api.LinuxPodSandboxConfig(security_context=pod))
    sandbox_id = await ours.sandbox()
    with pytest.raises(InvalidArgument, match=kind):
        await ours.create(sandbox_id, ["true"], linux=security(namespace_options=options))


@pytest.mark.parametrize(
    "field", [{"protocol": 9}, {"host_port": 70000}, {"host_port": -1}, {"container_port": 0}, {"host_ip": "300.1.1.1"}]
)
async def test_a_port_that_cannot_be_forwarded(ours: Kit, field: dict[str, Any]) -> None:
    mapping = api.PortMapping(**{"container_port": 80, "host_port": 18_080, **field})
    with pytest.raises(InvalidArgument, match=f"port_mappings: {next(iter(field))}"):
        await ours.sandbox(port_mappings=[mapping])


async def test_a_stop_signal_that_there_is_not(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    with pytest.raises(InvalidArgument, match="stop_signal 99"):
        await ours.create(sandbox_id, ["true"], stop_signal=99)


@pytest.mark.parametrize("hostname", ["a\0b", "a\nb"])
async def test_a_host_name_that_is_no_line(ours: Kit, hostname: str) -> None:
    with pytest.raises(InvalidArgument, match="host name"):
        await ours.sandbox(hostname=hostname)


async def test_sysctls_with_slashes(ours: Kit) -> None:
    sysctls = {"net/core/somaxconn": "555", "net/ipv4/conf/default.1/rp_filter": "1"}
    with pytest.raises(InvalidArgument, match=r"default\.1"):
        await ours.sandbox(linux=api.LinuxPodSandboxConfig(sysctls=sysctls))
    sysctls = {"net/core/somaxconn": "555", "kernel/msgmax": "4096"}
    sandbox_id = await ours.sandbox(linux=api.LinuxPodSandboxConfig(sysctls=sysctls))
    assert await ours.shell(sandbox_id, "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax") == "555\n4096\n"


async def test_ambient_capabilities(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    wanted = api.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])
    linux = security(capabilities=wanted, run_as_username="member")
    output = await ours.shell(sandbox_id, "grep CapEff /proc/self/status", linux=linux)
    assert int(output.split()[1], 16) == 1 << 10


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
