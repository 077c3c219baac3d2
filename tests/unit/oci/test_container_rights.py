"""Specs that really run: users, capabilities, seccomp, hidden paths, as the kernel sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.containers import (
    DEFAULT_MASK,
    STATUS,
    Bench,
    container,
    mask,
    runtime_default,
    status,
)

from podyard.cri import api
from podyard.model.image import ImageConfig

pytestmark = pytest.mark.host


async def test_default_capabilities_as_the_kernel_sees_them(bench: Bench) -> None:
    seen = status(await bench.run(STATUS))
    assert {int(seen[f"Cap{name}"], 16) for name in ("Bnd", "Eff", "Prm")} == {DEFAULT_MASK}
    assert {int(seen[f"Cap{name}"], 16) for name in ("Inh", "Amb")} == {0}
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("0", "0")


async def test_added_dropped_and_ambient_capabilities_of_another_user(bench: Bench) -> None:
    wanted = api.Capability(
        add_capabilities=["NET_ADMIN"], drop_capabilities=["ALL"], add_ambient_capabilities=["NET_BIND_SERVICE"]
    )
    config = container(
        capabilities=wanted,
        no_new_privs=True,
        run_as_user=api.Int64Value(value=1000),
        run_as_group=api.Int64Value(value=2000),
        supplemental_groups=[3000, 4000],
    )
    seen = status(await bench.run(STATUS, config))
    assert int(seen["CapBnd"], 16) == mask(10, 12)
    assert int(seen["CapEff"], 16) == mask(10)
    assert int(seen["CapAmb"], 16) == mask(10)
    assert seen["NoNewPrivs"] == "1"
    assert (seen["Uid"].split()[0], seen["Gid"].split()[0], seen["Groups"]) == ("1000", "2000", "2000 3000 4000")


async def test_the_images_user_and_its_groups(bench: Bench) -> None:
    ended = await bench.run(f"{STATUS}; echo Home: $HOME", image=ImageConfig(user="nobody"))
    seen = status(ended)
    assert (seen["Uid"].split()[0], seen["Gid"].split()[0], seen["Groups"]) == ("99", "98", "44 98")
    assert seen["Home"] == "/home/nobody"


async def test_a_privileged_container_has_all_that_the_daemon_has(bench: Bench) -> None:
    config = container(privileged=True, masked_paths=["/proc/kcore"])
    script = f"{STATUS}; test -w /sys/kernel && echo sys: writable; test -c /dev/kmsg && echo kmsg: there"
    seen = status(await bench.run(script, config))
    own = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    assert int(seen["CapEff"], 16) == int(own, 16)
    assert (seen["sys"], seen["kmsg"], seen["Seccomp"]) == (" writable".strip(), "there", "0")


async def test_the_default_seccomp_profile_filters(bench: Bench) -> None:
    added = api.Capability(add_capabilities=["SYS_RAWIO"])
    script = f"{STATUS}; unshare -m true 2>&1; swapoff -a 2>&1; echo $((6*7)); ls / >/dev/null && echo works: yes"
    ended = await bench.run(script, runtime_default(capabilities=added))
    seen = status(ended)
    assert seen["Seccomp"] == "2"
    assert "unshare" in seen and "Operation not permitted" in ended.out
    assert seen["works"] == "yes"


async def test_a_capability_opens_its_calls_in_the_default_profile(bench: Bench) -> None:
    admin = api.Capability(add_capabilities=["SYS_ADMIN"])
    assert (await bench.run("unshare -m true && mount -t tmpfs t /tmp", runtime_default(capabilities=admin))).code == 0


async def test_without_a_profile_the_same_call_is_up_to_the_kernel(bench: Bench) -> None:
    assert (await bench.run("unshare -U true")).code == 0


async def test_a_profile_on_this_node(bench: Bench) -> None:
    (bench.folder / "seccomp").mkdir()
    (bench.folder / "seccomp" / "no-mkdir.json").write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
            }
        )
    )
    profile = api.SecurityProfile(profile_type=api.SecurityProfile.Localhost, localhost_ref="no-mkdir.json")
    ended = await bench.run("echo fine; mkdir /tmp/x", container(seccomp=profile))
    assert ended.code == 1
    assert ended.out == "fine"
    assert "No space left on device" in ended.err


async def test_masked_and_readonly_paths(bench: Bench) -> None:
    config = container(masked_paths=["/proc/timer_list", "/sys/kernel", "/proc/none"], readonly_paths=["/proc/sys"])
    script = (
        "wc -c < /proc/timer_list; ls /sys/kernel | wc -l;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward; grep -q Linux /proc/version && echo seen"
    )
    ended = await bench.run(script, config)
    assert ended.out == "0\n0\nseen"
    assert "Read-only file system" in ended.err


async def test_a_readonly_root(bench: Bench) -> None:
    (bench.folder / "shm").mkdir()
    script = "touch /x; touch /dev/shm/y && echo shm"
    ended = await bench.run(script, container(readonly_rootfs=True), shm=bench.folder / "shm")
    assert ended.out == "shm"
    assert "/x: Read-only file system" in ended.err
