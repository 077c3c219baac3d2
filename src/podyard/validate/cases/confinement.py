"""Masked and read-only paths, sysctls, no_new_privs, the read-only root file system."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal
from podyard.validate.kit import Kit
from podyard.validate.requests import namespaces, pod_security, security, value


@table(
    "no_new_privs",
    {"set where it is asked for": (True, "1"), "not set otherwise": (False, "0")},
)
async def _(kit: Kit, asked: bool, expected: str) -> None:
    output = await kit.shell("grep NoNewPrivs /proc/self/status", linux=security(no_new_privs=asked))
    equal(output.split()[1], expected, "NoNewPrivs")


@table(
    "no_new_privs",
    {
        "a setuid program gains nothing": (True, "must be suid"),
        "a setuid program is followed without it": (False, "incorrect password"),
    },
)
async def _(kit: Kit, asked: bool, expected: str) -> None:
    linux = security(run_as_user=value(1234), no_new_privs=asked)
    output = await kit.shell(
        "/bin/su nobody -c true < /dev/null 2>&1 || true", linux=linux, image=await kit.image("setuid")
    )
    contains(output, expected, "what su says")


@case("read-only root", "nothing can be written but /dev and mounts")
async def _(kit: Kit) -> None:
    script = "touch /file 2>&1; touch /tmp/file 2>&1; touch /etc/file 2>&1; echo x > /dev/shm/x && echo written"
    output = await kit.shell(script, linux=security(readonly_rootfs=True))
    equal(output.count("Read-only file system"), 3, f"refusals ({output})")
    contains(output, "written", "output of the last")


@case("read-only root", "not unless it is asked for")
async def _(kit: Kit) -> None:
    equal(await kit.shell("touch /file && echo written"), "written\n", "output")


PATHS: dict[str, tuple[dict[str, list[str]], str, str]] = {
    "a masked file looks empty": ({"masked_paths": ["/etc/passwd"]}, "wc -c < /etc/passwd", "0"),
    "a masked directory looks empty": ({"masked_paths": ["/etc"]}, "ls -A /etc | wc -l", "0"),
    "a masked path that does not exist is no error": ({"masked_paths": ["/no/such/path"]}, "echo x", "x"),
    "without a list nothing is masked": ({}, "test -s /etc/passwd && echo there", "there"),
    "a read-only path cannot be written": (
        {"readonly_paths": ["/tmp"]},
        "touch /tmp/x 2>/dev/null && echo written || echo refused",
        "refused",
    ),
    "a read-only path can be read": ({"readonly_paths": ["/etc"]}, "wc -l < /etc/passwd", "3"),
    "a read-only path that does not exist is no error": ({"readonly_paths": ["/no/such/path"]}, "echo x", "x"),
    "/proc/sys can be made read-only": (
        {"readonly_paths": ["/proc/sys"]},
        "echo 1 2>/dev/null > /proc/sys/net/core/somaxconn && echo written || echo refused",
        "refused",
    ),
    "a file in /proc can be masked": ({"masked_paths": ["/proc/interrupts"]}, "wc -c < /proc/interrupts", "0"),
}


@table("masked and read-only paths", PATHS)
async def _(kit: Kit, fields: dict[str, list[str]], script: str, expected: str) -> None:
    equal((await kit.shell(script, linux=security(**fields))).strip(), expected, "output")


SYSCTLS = {
    "net.core.somaxconn": ("777", "/proc/sys/net/core/somaxconn"),
    "net.ipv4.ip_forward": ("1", "/proc/sys/net/ipv4/ip_forward"),
    "net.ipv4.ip_local_port_range": ("20000\t30000", "/proc/sys/net/ipv4/ip_local_port_range"),
    "kernel.shm_rmid_forced": ("1", "/proc/sys/kernel/shm_rmid_forced"),
    "kernel.msgmax": ("16384", "/proc/sys/kernel/msgmax"),
    "kernel.sem": ("250\t32000\t32\t256", "/proc/sys/kernel/sem"),
    "fs.mqueue.msg_max": ("20", "/proc/sys/fs/mqueue/msg_max"),
    "net.ipv4.ip_unprivileged_port_start": ("1024", "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
}


@table("sysctls", {f"{name} is the sandbox's": (name, *row) for name, row in SYSCTLS.items()})
async def _(kit: Kit, name: str, setting: str, path: str) -> None:
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(sysctls={name: setting}))
    equal((await kit.shell(f"cat {path}", sandbox_id)).split(), setting.split(), path)


@case("sysctls", "a name may be written with slashes")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(sysctls={"net/core/somaxconn": "778"}))
    equal(await kit.shell("cat /proc/sys/net/core/somaxconn", sandbox_id), "778\n", "net.core.somaxconn")


@case("sysctls", "the host and other sandboxes keep their own")
async def _(kit: Kit) -> None:
    before = await kit.look("cat /proc/sys/net/core/somaxconn")
    await kit.sandbox(linux=api.LinuxPodSandboxConfig(sysctls={"net.core.somaxconn": "779"}))
    equal(await kit.look("cat /proc/sys/net/core/somaxconn"), before, "net.core.somaxconn of another sandbox")


WRONG_SYSCTLS = {
    "one that does not exist is refused by its name": ("net.core.no_such_thing", "no_such_thing"),
    "one of the whole host is refused": ("vm.swappiness", "vm.swappiness"),
}


@table("sysctls", WRONG_SYSCTLS)
async def _(kit: Kit, name: str, says: str) -> None:
    call = kit.sandbox(linux=api.LinuxPodSandboxConfig(sysctls={name: "1"}))
    await kit.refused(call, PodyardError, says=says)


@case("sysctls", "one of the network is refused on the host's network")
async def _(kit: Kit) -> None:
    linux = pod_security(namespace_options=namespaces(network=api.NODE))
    linux.sysctls["net.core.somaxconn"] = "779"
    await kit.refused(kit.sandbox(linux=linux, hostname=""), InvalidArgument)


@case("sysctls", "one of IPC is refused with the host's IPC")
async def _(kit: Kit) -> None:
    linux = pod_security(namespace_options=namespaces(ipc=api.NODE))
    linux.sysctls["kernel.msgmax"] = "8192"
    await kit.refused(kit.sandbox(linux=linux), InvalidArgument)
