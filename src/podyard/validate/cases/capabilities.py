"""Linux capabilities: the defaults, what is added and dropped, and what a user other than root keeps."""

from __future__ import annotations

from pathlib import Path

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.validate.case import case, table
from podyard.validate.expect import equal, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import pod_security, security, value

CHOWN, KILL, NET_BIND, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_TIME = (1 << bit for bit in (0, 5, 10, 12, 13, 19, 25))

DEFAULTS = 0xA80425FB
"""CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
AUDIT_WRITE: containerd's, which most images are made for."""

REQUIRED = CHOWN | KILL | NET_BIND
"""Those that every runtime gives."""


def _own() -> int:
    """The host's: those that this process has."""
    return _masks(Path("/proc/self/status").read_text())["CapEff"]


def _masks(status: str) -> dict[str, int]:
    fields = (line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    return {name: int(mask, 16) for name, mask in fields}


async def _inside(kit: Kit, sandbox: str = "", **fields: object) -> dict[str, int]:
    return _masks(await kit.shell("cat /proc/self/status", sandbox, linux=security(**fields)))


@case("capabilities", "the defaults have what common images need")
async def _(kit: Kit) -> None:
    came = (await _inside(kit))["CapEff"]
    wanted = DEFAULTS if kit.strict else came | REQUIRED
    equal(f"{came:#x}", f"{wanted:#x}", "effective capabilities")


@case("capabilities", "none is inheritable or ambient by default")
async def _(kit: Kit) -> None:
    came = await _inside(kit)
    equal((came["CapInh"], came["CapAmb"]), (0, 0), "inheritable and ambient")


@case("capabilities", "bounding, permitted and effective are alike for root")
async def _(kit: Kit) -> None:
    came = await _inside(kit)
    equal({came["CapBnd"], came["CapPrm"], came["CapEff"]}, {came["CapEff"]}, "the three sets")


CHANGES = {
    "one more": ({"add_capabilities": ["SYS_PTRACE"]}, SYS_PTRACE, 0),
    "one less": ({"drop_capabilities": ["CHOWN"]}, 0, CHOWN),
    "one more and one less": (
        {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["KILL"]},
        NET_ADMIN,
        KILL,
    ),
    "several": ({"add_capabilities": ["NET_ADMIN", "SYS_TIME"]}, NET_ADMIN | SYS_TIME, 0),
    "one that is there already": ({"add_capabilities": ["CHOWN"]}, CHOWN, 0),
    "one that is not there is dropped": ({"drop_capabilities": ["SYS_TIME"]}, 0, SYS_TIME),
    "a name with CAP_": ({"add_capabilities": ["CAP_SYS_PTRACE"]}, SYS_PTRACE, 0),
}


@table("capabilities", CHANGES)
async def _(kit: Kit, fields: dict[str, list[str]], there: int, gone: int) -> None:
    plain = (await _inside(kit))["CapEff"]
    came = (await _inside(kit, capabilities=api.Capability(**fields)))["CapEff"]
    equal(f"{came:#x}", f"{(plain | there) & ~gone:#x}", "effective capabilities")


EXACT = {
    "ALL dropped": ({"drop_capabilities": ["ALL"]}, 0),
    "ALL dropped, one added": ({"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]}, NET_BIND),
    "ALL dropped in small letters": ({"drop_capabilities": ["all"]}, 0),
}


@table("capabilities", EXACT)
async def _(kit: Kit, fields: dict[str, list[str]], expected: int) -> None:
    came = await _inside(kit, capabilities=api.Capability(**fields))
    equal((came["CapEff"], came["CapBnd"]), (expected, expected), "effective and bounding")


@case("capabilities", "ALL added: those of the host")
async def _(kit: Kit) -> None:
    came = (await _inside(kit, capabilities=api.Capability(add_capabilities=["ALL"])))["CapEff"]
    equal(f"{came:#x}", f"{_own():#x}", "effective capabilities")


@case("capabilities", "ALL added, one dropped")
async def _(kit: Kit) -> None:
    asked = api.Capability(add_capabilities=["ALL"], drop_capabilities=["NET_RAW"])
    came = (await _inside(kit, capabilities=asked))["CapEff"]
    equal(f"{came:#x}", f"{_own() & ~NET_RAW:#x}", "effective capabilities")


@case("capabilities", "a user other than root has none in effect")
async def _(kit: Kit) -> None:
    came = await _inside(kit, run_as_user=value(1234), capabilities=api.Capability(add_capabilities=["NET_ADMIN"]))
    equal((came["CapEff"], came["CapPrm"]), (0, 0), "effective and permitted")


@case("capabilities", "an ambient one is kept by a user other than root")
async def _(kit: Kit) -> None:
    asked = api.Capability(drop_capabilities=["ALL"], add_ambient_capabilities=["NET_BIND_SERVICE"])
    came = await _inside(kit, run_as_user=value(1234), capabilities=asked)
    equal((came["CapEff"], came["CapAmb"]), (NET_BIND, NET_BIND), "effective and ambient")


@case("capabilities", "one that does not exist is refused by its name")
async def _(kit: Kit) -> None:
    linux = security(capabilities=api.Capability(add_capabilities=["NO_SUCH_CAPABILITY"]))
    await kit.refused(kit.start(["true"], linux=linux), InvalidArgument, says="NO_SUCH_CAPABILITY")


PRIVILEGED = {
    "all capabilities of the host": ("grep CapEff /proc/self/status | awk '{print $2}'", None),
    "no seccomp filter": ("grep ^Seccomp: /proc/self/status | awk '{print $2}'", "0"),
    "/sys can be written": ("awk '$5 == \"/sys\" {print substr($6, 1, 2)}' /proc/self/mountinfo", "rw"),
    "the cgroup tree can be written": (
        'awk \'$2 ~ "^/sys/fs/cgroup" && $3 ~ "^cgroup" {print substr($4, 1, 2)}\' /proc/self/mounts | sort -u',
        "rw",
    ),
    "the host's devices": ("test -c /dev/kmsg && echo yes", "yes"),
    "no masked path": ("grep -c ' /proc/kcore ' /proc/self/mounts || true", "0"),
}


@table("privileged", PRIVILEGED)
async def _(kit: Kit, script: str, expected: str | None) -> None:
    if "kmsg" in script and not Path("/dev/kmsg").exists():
        skip("the host has no /dev/kmsg")
    sandbox_id = await kit.sandbox(linux=pod_security(privileged=True))
    output = (await kit.shell(script, sandbox_id, linux=security(privileged=True))).strip()
    equal(output, f"{_own():016x}" if expected is None else expected, "output")


@case("privileged", "a container that is not in a privileged sandbox has nothing of it")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod_security(privileged=True))
    script = "awk '$5 == \"/sys\" {print substr($6, 1, 2)}' /proc/self/mountinfo; test -e /dev/kmsg || echo none"
    equal(await kit.shell(script, sandbox_id), "ro\nnone\n", "access of /sys, and /dev/kmsg")


@case("privileged", "a privileged container in a sandbox that is not is refused")
async def _(kit: Kit) -> None:
    await kit.refused(kit.create(["true"], linux=security(privileged=True)), InvalidArgument, says="privileged")


@case("privileged", "a user other than root may be privileged")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=pod_security(privileged=True))
    came = await _inside(kit, sandbox_id, privileged=True, run_as_user=value(1234))
    equal((came["CapEff"], f"{came['CapBnd']:#x}"), (0, f"{_own():#x}"), "effective and bounding")
