"""What a container's configuration makes of it, through the CRI: what runs as whom, its rights, limits and mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.pods import Kit, security

from podyard.cri import api
from podyard.errors import PodyardError


async def test_environment_directory_and_arguments(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(hostname="envhost")
    output = await kit.shell(
        sandbox_id,
        "pwd; echo $A,$B,$HOSTNAME,$PATH",
        envs=[api.KeyValue(key="A", value=b"1 2"), api.KeyValue(key="B", value=b"")],
        working_dir="/made/on/the/way",
    )
    assert output == "/made/on/the/way\n1 2,,envhost,/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    status = await kit.ended(await kit.start(sandbox_id, ["echo"], args=["one", "two words"]))
    assert kit.output(status) == "one two words\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "0 0 0"),
        ({"run_as_user": api.Int64Value(value=1234)}, "1234 0 0"),
        ({"run_as_user": api.Int64Value(value=1234), "run_as_group": api.Int64Value(value=77)}, "1234 77 77"),
        ({"run_as_username": "nobody"}, "65534 65534 65534"),
        ({"run_as_username": "member"}, "1000 1000 1000 50000"),
        ({"run_as_user": api.Int64Value(value=5), "supplemental_groups": [7, 9]}, "5 0 0 7 9"),
    ],
    ids=["root", "uid", "uid and gid", "name", "name with groups", "supplemental groups"],
)
async def test_users_and_groups(kit: Kit, fields: dict[str, object], expected: str) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(sandbox_id, "echo $(id -u) $(id -g) $(id -G)", linux=security(**fields))
    assert output == f"{expected}\n"


async def test_a_group_without_a_user_is_refused(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match="group"):
        await kit.create(sandbox_id, ["true"], linux=security(run_as_group=api.Int64Value(value=5)))


async def test_an_unknown_user_is_named(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match="user"):
        await kit.create(sandbox_id, ["true"], linux=security(run_as_username="nosuchuser"))


DEFAULT_CAPABILITIES = 0xA80425FB


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (api.Capability(), DEFAULT_CAPABILITIES),
        (api.Capability(drop_capabilities=["ALL"]), 0),
        (api.Capability(drop_capabilities=["ALL"], add_capabilities=["NET_ADMIN"]), 1 << 12),
        (api.Capability(drop_capabilities=["CHOWN"]), DEFAULT_CAPABILITIES & ~1),
        (api.Capability(add_capabilities=["SYS_PTRACE"]), DEFAULT_CAPABILITIES | 1 << 19),
    ],
    ids=["defaults", "none", "one alone", "one less", "one more"],
)
async def test_capabilities(kit: Kit, capabilities: api.Capability, expected: int) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(sandbox_id, "grep CapEff /proc/self/status", linux=security(capabilities=capabilities))
    assert int(output.split()[1], 16) == expected


async def test_privileged(kit: Kit) -> None:
    sandbox = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(privileged=True))
    sandbox_id = await kit.sandbox(linux=sandbox)
    output = await kit.shell(
        sandbox_id,
        "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev/kmsg",
        linux=security(privileged=True),
    )
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    assert int(output.split()[1], 16) == int(own.split()[1], 16)
    assert "Seccomp:\t0" in output


async def test_sys_is_writable_for_the_privileged_alone(kit: Kit) -> None:
    sandbox = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(privileged=True))
    sandbox_id = await kit.sandbox(linux=sandbox)
    options = "awk '$5 == \"/sys\" {print $6}' /proc/self/mountinfo"
    assert (await kit.shell(sandbox_id, options)).startswith("ro,")
    assert (await kit.shell(sandbox_id, options, linux=security(privileged=True))).startswith("rw,")


async def test_a_privileged_container_needs_a_privileged_sandbox(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    with pytest.raises(PodyardError, match="privileged"):
        await kit.create(sandbox_id, ["true"], linux=security(privileged=True))


async def test_no_new_privileges(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(sandbox_id, "grep NoNewPrivs /proc/self/status", linux=security(no_new_privs=True))
    assert output.split()[1] == "1"


async def test_a_read_only_root(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    output = await kit.shell(sandbox_id, "touch /file 2>&1 || true", linux=security(readonly_rootfs=True))
    assert "Read-only file system" in output


@pytest.mark.parametrize(
    ("profile", "mode"),
    [(api.SecurityProfile.RuntimeDefault, "2"), (api.SecurityProfile.Unconfined, "0")],
    ids=["default", "unconfined"],
)
async def test_seccomp(kit: Kit, profile: api.SecurityProfile.ProfileType.ValueType, mode: str) -> None:
    sandbox_id = await kit.sandbox()
    linux = security(seccomp=api.SecurityProfile(profile_type=profile))
    output = await kit.shell(
        sandbox_id, "grep Seccomp: /proc/self/status; unshare -U true 2>&1 && echo allowed || true", linux=linux
    )
    assert output.split()[1] == mode
    assert ("allowed" in output) == (mode == "0")


async def test_a_seccomp_profile_of_the_node(kit: Kit) -> None:
    profile = kit.folder / "deny-mkdir.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    sandbox_id = await kit.sandbox()
    linux = security(
        seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref=str(profile))
    )
    assert "not permitted" in await kit.shell(sandbox_id, "mkdir /tmp/x 2>&1 || true", linux=linux)


async def test_masked_and_read_only_paths(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    linux = security(masked_paths=["/proc/kcore", "/etc/passwd"], readonly_paths=["/proc/sys"])
    script = "wc -c < /etc/passwd; echo 1 > /proc/sys/net/core/somaxconn"
    output = await kit.shell(sandbox_id, f"({script}) 2>&1 || true", linux=linux)
    assert output.startswith("0\n")
    assert "Read-only file system" in output


async def test_limits_reach_the_cgroup(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    resources = api.LinuxContainerResources(
        cpu_period=100000, cpu_quota=20000, cpu_shares=512, memory_limit_in_bytes=64 << 20
    )
    container_id = await kit.start(sandbox_id, ["sleep", "1000"], linux=api.LinuxContainerConfig(resources=resources))
    script = (
        "cd /sys/fs/cgroup; cat memory.max cpu.max 2>/dev/null || "
        "cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares"
    )
    words = (await kit.exec(container_id, "sh", "-c", script)).split()
    assert words[:2] == [str(64 << 20), "20000"]
    assert words[2] in {"512", "100000"}
    status = await kit.status(container_id)
    assert status.resources.linux.memory_limit_in_bytes == 64 << 20


async def test_mounts(kit: Kit) -> None:
    data = kit.folder / "data"
    data.mkdir(parents=True)
    (data / "file").write_text("from the host\n")
    (kit.folder / "link").symlink_to(data)
    sandbox_id = await kit.sandbox()
    mounts = [
        api.Mount(container_path="/rw", host_path=str(data)),
        api.Mount(container_path="/ro", host_path=str(kit.folder / "link"), readonly=True),
        api.Mount(container_path="/one", host_path=str(data / "file")),
        api.Mount(container_path="/rw/deeper", host_path=str(kit.folder / "missing")),
    ]
    script = "cat /ro/file /one; echo back > /rw/new; touch /rw/deeper/x; touch /ro/y 2>&1 || true"
    output = await kit.shell(sandbox_id, script, mounts=mounts)
    assert output.startswith("from the host\nfrom the host\n")
    assert "Read-only file system" in output
    assert (data / "new").read_text() == "back\n"
    assert (kit.folder / "missing" / "x").exists()


async def test_a_read_only_mount_over_a_default_one(kit: Kit) -> None:
    hosts = kit.folder / "hosts"
    hosts.write_text("10.1.2.3 somewhere\n")
    sandbox_id = await kit.sandbox()
    mounts = [api.Mount(container_path="/etc/hosts", host_path=str(hosts), readonly=True)]
    assert await kit.shell(sandbox_id, "cat /etc/hosts", mounts=mounts) == "10.1.2.3 somewhere\n"


async def test_devices(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    device = api.Device(container_path="/dev/my-full", host_path="/dev/full", permissions="rw")
    output = await kit.shell(
        sandbox_id, "echo x > /dev/my-full 2>&1 || ls -l /dev/null /dev/zero /dev/tty | wc -l", devices=[device]
    )
    assert output.endswith("3\n")
