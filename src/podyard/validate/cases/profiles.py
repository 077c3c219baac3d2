"""seccomp, AppArmor and SELinux."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, PodyardError
from podyard.validate.case import case, table
from podyard.validate.cases.propagation import host_tool
from podyard.validate.expect import contains, equal, one_of, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import pod_security, profile, security

DENY_MKDIR = json.dumps(
    {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
)

MODES: dict[str, tuple[dict[str, Any], str]] = {
    "RuntimeDefault is a filter": ({"seccomp": profile("RuntimeDefault")}, "2"),
    "Unconfined is none": ({"seccomp": profile("Unconfined")}, "0"),
    "the older runtime/default is a filter": ({"seccomp_profile_path": "runtime/default"}, "2"),
    "the older docker/default is a filter": ({"seccomp_profile_path": "docker/default"}, "2"),
    "the older unconfined is none": ({"seccomp_profile_path": "unconfined"}, "0"),
    "the newer field wins over the older": (
        {"seccomp": profile("Unconfined"), "seccomp_profile_path": "runtime/default"},
        "0",
    ),
}


@table("seccomp", MODES)
async def _(kit: Kit, fields: dict[str, Any], mode: str) -> None:
    output = await kit.shell("grep ^Seccomp: /proc/self/status", linux=security(**fields))
    equal(output.split()[1], mode, "mode in /proc/self/status (0: none, 2: a filter)")


@case("seccomp", "RuntimeDefault does not allow a user namespace")
async def _(kit: Kit) -> None:
    linux = security(seccomp=profile("RuntimeDefault"))
    output = await kit.shell("unshare -U true 2>&1 && echo allowed || true", linux=linux)
    contains(output, "not permitted", "the error inside")


@case("seccomp", "RuntimeDefault lets an ordinary program work")
async def _(kit: Kit) -> None:
    script = "cd /tmp && mkdir d && echo x > d/f && mv d/f d/g && cat d/g && chown 1:1 d/g && rm -r d && kill -0 $$"
    equal(await kit.shell(script, linux=security(seccomp=profile("RuntimeDefault"))), "x\n", "output")


@table("seccomp", {"a profile of the node is followed": (False,), "the older localhost/ is followed": (True,)})
async def _(kit: Kit, older: bool) -> None:
    path = kit.folder / "deny-mkdir.json"
    path.write_text(DENY_MKDIR)
    fields: dict[str, Any] = {"seccomp": profile("Localhost", str(path))}
    if older:
        fields = {"seccomp_profile_path": f"localhost/{path}"}
    output = await kit.shell("mkdir /tmp/x 2>&1 || true", linux=security(**fields))
    contains(output, "not permitted", "the error inside")


@case("seccomp", "a command in the container has its filter")
async def _(kit: Kit) -> None:
    container_id = await kit.idle(linux=security(seccomp=profile("RuntimeDefault")))
    equal((await kit.exec(container_id, "grep", "^Seccomp:", "/proc/self/status")).split()[1], "2", "mode")


@case("seccomp", "a sandbox that shares its PIDs takes a profile")
async def _(kit: Kit) -> None:
    options = api.NamespaceOption(pid=api.POD)
    linux = pod_security(seccomp=profile("RuntimeDefault"), namespace_options=options)
    equal((await kit.pod_status(await kit.sandbox(linux=linux))).state, api.SANDBOX_READY, "state")


WRONG_PROFILES: dict[str, tuple[dict[str, Any], str]] = {
    "a file that does not exist is refused by its name": (
        {"seccomp": profile("Localhost", "/no/such/profile.json")},
        "no/such/profile.json",
    ),
    "Localhost without a file is refused": ({"seccomp": profile("Localhost")}, ""),
    "an older path of another form is refused": ({"seccomp_profile_path": "nonsense"}, "nonsense"),
}


@table("seccomp", WRONG_PROFILES)
async def _(kit: Kit, fields: dict[str, Any], says: str) -> None:
    await kit.refused(kit.start(["true"], linux=security(**fields)), PodyardError, says=says)


@case("seccomp", "a file that is no profile is refused")
async def _(kit: Kit) -> None:
    path = kit.folder / "broken.json"
    path.write_text("{")
    await kit.refused(kit.start(["true"], linux=security(seccomp=profile("Localhost", str(path)))), PodyardError)


def _has_apparmor() -> bool:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().startswith("Y")


APPARMOR: dict[str, tuple[dict[str, Any], str]] = {
    "Unconfined is none": ({"apparmor": profile("Unconfined")}, "unconfined"),
    "the older unconfined is none": ({"apparmor_profile": "unconfined"}, "unconfined"),
    "RuntimeDefault is enforced": ({"apparmor": profile("RuntimeDefault")}, "(enforce)"),
    "the older runtime/default is enforced": ({"apparmor_profile": "runtime/default"}, "(enforce)"),
}


@table("apparmor", APPARMOR)
async def _(kit: Kit, fields: dict[str, Any], expected: str) -> None:
    if not _has_apparmor():
        skip("AppArmor is not enabled on this host")
    output = await kit.shell("cat /proc/self/attr/apparmor/current /proc/self/attr/current", linux=security(**fields))
    contains(output, expected, "the process' label")


@table("apparmor", {f"a profile that is not loaded is refused, {form}": (form,) for form in ("by field", "older form")})
async def _(kit: Kit, form: str) -> None:
    name = "no-such-apparmor-profile"
    fields = {"apparmor_profile": f"localhost/{name}"} if form == "older form" else {}
    newer = {} if fields else {"apparmor": profile("Localhost", name)}
    if not _has_apparmor() and not kit.strict:
        skip(
            "AppArmor is not enabled on this host, and the protocol does not say what becomes of it; a strict run asks"
        )
    call = kit.start(["true"], linux=security(**fields, **newer))
    await kit.refused(call, PodyardError, says=name if _has_apparmor() else "apparmor")


@case("apparmor", "a loaded profile is enforced")
async def _(kit: Kit) -> None:
    if not _has_apparmor():
        skip("AppArmor is not enabled on this host")
    name = f"validate-{kit.session.id}"
    path = kit.folder / "profile"
    path.write_text(f"profile {name} flags=(attach_disconnected) {{\n  file,\n  deny /tmp/** w,\n}}\n")
    await host_tool("apparmor_parser", "-r", str(path))
    try:
        linux = security(apparmor=profile("Localhost", name))
        output = await kit.shell("touch /tmp/x 2>&1 || true", linux=linux)
    finally:
        await kit.close()
        await host_tool("apparmor_parser", "-R", str(path))
    contains(output, "ermission denied", "the error inside")


@case("apparmor", "a Pod that does not ask for it runs where the host has none")
async def _(kit: Kit) -> None:
    if _has_apparmor():
        skip("this host has AppArmor")
    equal(await kit.shell("echo runs"), "runs\n", "output")


SELINUX = api.SELinuxOption(user="system_u", role="system_r", type="container_t", level="s0:c4,c5")


@case("selinux", "the label asked for is the process'")
async def _(kit: Kit) -> None:
    if not Path("/sys/fs/selinux/enforce").exists():
        skip("SELinux is not enabled on this host")
    linux = security(selinux_options=SELINUX)
    contains(await kit.shell("cat /proc/self/attr/current", linux=linux), "container_t:s0:c4,c5", "label")


@case("selinux", "options on a host without it are ignored, or refused by their name")
async def _(kit: Kit) -> None:
    if Path("/sys/fs/selinux/enforce").exists():
        skip("this host has SELinux")
    call = kit.create(["true"], linux=security(selinux_options=SELINUX))
    if kit.strict:
        await kit.refused(call, FailedPrecondition, says="selinux")
        return
    try:
        await call
    except PodyardError as error:
        contains(str(error).lower(), "selinux", "the error")


@case("selinux", "options of a sandbox on a host without it are ignored, or refused by their name")
async def _(kit: Kit) -> None:
    if Path("/sys/fs/selinux/enforce").exists():
        skip("this host has SELinux")
    try:
        await kit.sandbox(linux=pod_security(selinux_options=SELINUX))
    except PodyardError as error:
        contains(str(error).lower(), "selinux", "the error")
        one_of(type(error), (FailedPrecondition, InvalidArgument), "kind of error")
