"""Which namespaces containers share, with each other and with the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, lacks, skip
from podyard.validate.kit import NOBODY, Kit
from podyard.validate.requests import namespaces, pod_security, security


async def _pod(kit: Kit, **options: Any) -> str:
    return await kit.sandbox(linux=pod_security(namespace_options=api.NamespaceOption(**options)))


async def _namespace(kit: Kit, sandbox_id: str, kind: str, **options: Any) -> str:
    linux = security(namespace_options=api.NamespaceOption(**options))
    return (await kit.shell(f"readlink /proc/self/ns/{kind}", sandbox_id, linux=linux)).strip()


def _hosts(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


@table(
    "namespaces",
    {
        f"containers of a sandbox share {name}": (kind,)
        for kind, name in {"net": "the network", "ipc": "IPC", "uts": "the host name"}.items()
    },
)
async def _(kit: Kit, kind: str) -> None:
    sandbox_id = await kit.shared()
    first, second = [await _namespace(kit, sandbox_id, kind, pid=api.CONTAINER) for _ in range(2)]
    equal(second, first, f"{kind} namespaces")
    holds(first != _hosts(kind), f"another {kind} namespace than the host's", first)


@table("namespaces", {f"a container has its own {kind} namespace": (kind,) for kind in ("mnt", "pid")})
async def _(kit: Kit, kind: str) -> None:
    containers = [await kit.idle() for _ in range(2)]
    spaces = {await kit.exec(container_id, "readlink", f"/proc/self/ns/{kind}") for container_id in containers}
    equal(len(spaces | {f"{_hosts(kind)}\n"}), 3, f"different {kind} namespaces, the host's among them")


@table("namespaces", {f"with mode NODE the {kind} namespace is the host's": (kind,) for kind in ("net", "pid", "ipc")})
async def _(kit: Kit, kind: str) -> None:
    options: dict[str, Any] = {"network": api.NODE, "pid": api.NODE, "ipc": api.NODE}
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=api.NamespaceOption(**options)), hostname="")
    equal(await _namespace(kit, sandbox_id, kind, **options), _hosts(kind), f"{kind} namespace")


@case("namespaces", "the program is process 1 of its own PID namespace")
async def _(kit: Kit) -> None:
    equal(await kit.shell("echo $$"), "1\n", "pid")


@case("namespaces", "processes of other containers are not seen")
async def _(kit: Kit) -> None:
    await kit.start(["sleep", "8642"])
    lacks(await kit.shell("ps -o args"), "sleep 8642", "processes")


@case("namespaces", "with PID mode POD containers see each other, and no one is process 1")
async def _(kit: Kit) -> None:
    sandbox_id = await _pod(kit, pid=api.POD)
    shared = security(namespace_options=api.NamespaceOption(pid=api.POD))
    await kit.start(["sleep", "3333"], sandbox_id, linux=shared)
    output = await kit.shell("ps -o args; echo $$", sandbox_id, linux=shared)
    contains(output, "sleep 3333", "processes")
    holds(output.split("\n")[-2] != "1", "another pid than 1", output)


@case("namespaces", "a container may keep its PIDs to itself in a sandbox that shares them")
async def _(kit: Kit) -> None:
    sandbox_id = await _pod(kit, pid=api.POD)
    shared = security(namespace_options=api.NamespaceOption(pid=api.POD))
    await kit.start(["sleep", "3334"], sandbox_id, linux=shared)
    lacks(await kit.shell("ps -o args", sandbox_id), "sleep 3334", "processes")


@case("namespaces", "orphans in a shared PID namespace are reaped")
async def _(kit: Kit) -> None:
    sandbox_id = await _pod(kit, pid=api.POD)
    shared = security(namespace_options=api.NamespaceOption(pid=api.POD))
    container_id = await kit.idle(sandbox_id, linux=shared)
    script = "sh -c 'sleep 0.1 & exit 0'; i=0; while [ $i -lt 50 ]; do i=$((i+1)); sleep 0.1; "
    script += "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || exit 0; done; exit 1"
    await kit.exec(container_id, "sh", "-c", script)


@case("namespaces", "with PID mode TARGET a container sees its target's processes")
async def _(kit: Kit) -> None:
    target = await kit.start(["sh", "-c", "echo runs; sleep 4444; exit"])
    await kit.says(target, "runs")
    linux = security(namespace_options=api.NamespaceOption(pid=api.TARGET, target_id=target))
    contains(await kit.shell("ps -o pid,args", linux=linux), "1 sh -c echo runs; sleep 4444; exit", "processes")


@case("namespaces", "a target that does not exist is refused")
async def _(kit: Kit) -> None:
    linux = security(namespace_options=api.NamespaceOption(pid=api.TARGET, target_id=NOBODY))
    await kit.refused(kit.create(["true"], linux=linux), NotFound)


@case("namespaces", "a target that does not run is refused")
async def _(kit: Kit) -> None:
    target = await kit.start(["true"])
    await kit.ended(target)
    linux = security(namespace_options=api.NamespaceOption(pid=api.TARGET, target_id=target))
    await kit.refused(kit.create(["true"], linux=linux), FailedPrecondition)


@case("namespaces", "a target in another sandbox is refused")
async def _(kit: Kit) -> None:
    target = await kit.idle(await kit.sandbox())
    linux = security(namespace_options=api.NamespaceOption(pid=api.TARGET, target_id=target))
    await kit.refused(kit.create(["true"], linux=linux), InvalidArgument)


@case("namespaces", "the network mode CONTAINER is refused")
async def _(kit: Kit) -> None:
    if not kit.strict:
        skip("the protocol does not say what becomes of it; a strict run asks")
    await kit.refused(_pod(kit, network=api.CONTAINER, pid=api.CONTAINER), InvalidArgument)


@case("namespaces", "/dev/shm is the sandbox's, of 64 MiB and open to all")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.shell("echo across > /dev/shm/file", sandbox_id)
    script = "cat /dev/shm/file; stat -c %a /dev/shm; df -k /dev/shm | tail -1 | awk '{print $2}'"
    equal(await kit.shell(script, sandbox_id), "across\n1777\n65536\n", "content, mode, kilobytes")


@case("namespaces", "another sandbox's /dev/shm is not seen")
async def _(kit: Kit) -> None:
    await kit.shell("echo mine > /dev/shm/file", await kit.sandbox())
    equal(await kit.shell("ls /dev/shm", await kit.sandbox()), "", "files of the other's /dev/shm")


@case("namespaces", "with IPC mode NODE /dev/shm is the host's")
async def _(kit: Kit) -> None:
    options: dict[str, Any] = {"ipc": api.NODE, "pid": api.CONTAINER}
    sandbox_id = await _pod(kit, **options)
    name = f"validate-{kit.session.id}"
    path = Path("/dev/shm") / name
    path.write_text("of the host\n")
    try:
        linux = security(namespace_options=api.NamespaceOption(**options))
        output = await kit.shell(f"cat /dev/shm/{name}", sandbox_id, linux=linux)
    finally:
        path.unlink()
    equal(output, "of the host\n", "the file")


@case("namespaces", "a sandbox's status tells its modes")
async def _(kit: Kit) -> None:
    sandbox_id = await _pod(kit, pid=api.POD, ipc=api.NODE)
    options = (await kit.pod_status(sandbox_id)).linux.namespaces.options
    equal((options.network, options.pid, options.ipc), (api.POD, api.POD, api.NODE), "network, pid and ipc")


def _mapped(*mappings: api.IDMapping) -> api.UserNamespace:
    mappings = mappings or (api.IDMapping(host_id=1_000_000, container_id=0, length=65536),)
    return api.UserNamespace(mode=api.POD, uids=mappings, gids=mappings)


async def _user_namespace(kit: Kit, *mappings: api.IDMapping, **options: Any) -> tuple[str, api.NamespaceOption]:
    if not kit.handler_features().user_namespaces:
        skip("the runtime handler does not have user namespaces")
    chosen = namespaces(userns_options=_mapped(*mappings), **options)
    hostname = "" if options.get("network") == api.NODE else "mapped"
    return await kit.sandbox(linux=pod_security(namespace_options=chosen), hostname=hostname), chosen


USER_NAMESPACES = {
    "the ids inside are mapped as asked": ("awk '{print $1, $2, $3}' /proc/self/uid_map", "0 1000000 65536\n"),
    "root inside owns its root file system": ("stat -c '%u %g' / /bin/busybox", "0 0\n0 0\n"),
    "files of other users of the image keep their owner": ("stat -c '%u %g' /member-home", "1000 1000\n"),
    "root inside can write": ("touch /file && stat -c %u /file", "0\n"),
    "a user of the image is itself": (
        "su member -s /bin/sh -c 'id -u; touch /tmp/x; stat -c %u /tmp/x'",
        "1000\n1000\n",
    ),
    "/dev/shm can be written": ("echo x > /dev/shm/file && cat /dev/shm/file", "x\n"),
    "/etc/resolv.conf can be read": ("cat /etc/resolv.conf > /dev/null && echo yes", "yes\n"),
}


@table("user namespaces", USER_NAMESPACES, needs="user namespaces")
async def _(kit: Kit, script: str, expected: str) -> None:
    sandbox_id, options = await _user_namespace(kit)
    equal(await kit.shell(script, sandbox_id, linux=security(namespace_options=options)), expected, "output")


@case("user namespaces", "ids can be mapped in several stretches", needs="user namespaces")
async def _(kit: Kit) -> None:
    stretches = [
        api.IDMapping(host_id=1_000_000, container_id=0, length=1000),
        api.IDMapping(host_id=2_000_000, container_id=1000, length=64536),
    ]
    sandbox_id, options = await _user_namespace(kit, *stretches)
    script = "awk '{print $1, $2, $3}' /proc/self/uid_map; stat -c %u /member-home"
    output = await kit.shell(script, sandbox_id, linux=security(namespace_options=options))
    equal(
        output.splitlines(), ["0 1000000 1000", "1000 2000000 64536", "1000"], "the map, and a user's file of the image"
    )


@case("user namespaces", "on the host a process is the mapped user", needs="user namespaces")
async def _(kit: Kit) -> None:
    sandbox_id, options = await _user_namespace(kit)
    command = ["sh", "-c", "echo runs; sleep 1000"]
    container_id = await kit.start(command, sandbox_id, linux=security(namespace_options=options))
    await kit.says(container_id, "runs")
    equal((await kit.process(container_id)).stat().st_uid, 1_000_000, "uid on the host")


@case("user namespaces", "containers of the sandbox share it", needs="user namespaces")
async def _(kit: Kit) -> None:
    sandbox_id, options = await _user_namespace(kit)
    linux = security(namespace_options=options)
    first, second = [await kit.shell("readlink /proc/self/ns/user", sandbox_id, linux=linux) for _ in range(2)]
    equal(second, first, "user namespaces")


@case("user namespaces", "a volume with mappings shows its owners as they are on disk", needs="idmapped mounts")
async def _(kit: Kit) -> None:
    sandbox_id, options = await _user_namespace(kit)
    data = kit.folder / "data"
    data.mkdir()
    os.chown(data, 1000, 1000)
    mapping = options.userns_options.uids
    mount = api.Mount(container_path="/data", host_path=str(data), uidMappings=mapping, gidMappings=mapping)
    linux = security(namespace_options=options)
    output = await kit.shell("stat -c '%u %g' /data; touch /data/new", sandbox_id, linux=linux, mounts=[mount])
    equal(output, "1000 1000\n", "owner inside")
    equal((data / "new").stat().st_uid, 0, "owner on disk of what root inside has made")


@case("user namespaces", "they go together with the host's network", needs="user namespaces")
async def _(kit: Kit) -> None:
    if not kit.session.status.features.user_namespaces_host_network:
        skip("the endpoint does not have both together")
    sandbox_id, options = await _user_namespace(kit, network=api.NODE)
    output = await kit.shell("readlink /proc/self/ns/net", sandbox_id, linux=security(namespace_options=options))
    equal(output.strip(), _hosts("net"), "network namespace")


@case("user namespaces", "the mode NODE is the host's", needs="user namespaces")
async def _(kit: Kit) -> None:
    options = namespaces(userns_options=api.UserNamespace(mode=api.NODE))
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=options))
    output = await kit.shell("readlink /proc/self/ns/user", sandbox_id, linux=security(namespace_options=options))
    equal(output.strip(), _hosts("user"), "user namespace")


MAPPING = api.IDMapping(host_id=1_000_000, container_id=0, length=65536)

WRONG_MAPPINGS = {
    "mappings of nothing": api.UserNamespace(mode=api.POD),
    "a mapping of users and none of groups": api.UserNamespace(mode=api.POD, uids=[MAPPING]),
    "a mapping of length 0": api.UserNamespace(
        mode=api.POD, uids=[api.IDMapping(host_id=1_000_000)], gids=[api.IDMapping(host_id=1_000_000)]
    ),
    "the mode CONTAINER": api.UserNamespace(mode=api.CONTAINER, uids=[MAPPING], gids=[MAPPING]),
}


@table(
    "user namespaces",
    {f"{name}: refused": (wrong,) for name, wrong in WRONG_MAPPINGS.items()},
    needs="user namespaces",
)
async def _(kit: Kit, wrong: api.UserNamespace) -> None:
    if not kit.handler_features().user_namespaces:
        skip("the runtime handler does not have user namespaces")
    linux = pod_security(namespace_options=namespaces(userns_options=wrong))
    await kit.refused(kit.sandbox(linux=linux), InvalidArgument)
