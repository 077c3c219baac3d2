"""Pod sandboxes: their life, and what their status and the list say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

from podyard.cri import api
from podyard.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from podyard.validate.case import case, table
from podyard.validate.expect import contains, equal, holds, matches
from podyard.validate.kit import Kit
from podyard.validate.requests import pod_limits, pod_security, profile, security


async def cgroup_driver(kit: Kit) -> api.CgroupDriver.ValueType:
    """What RuntimeConfig says; runtimes without that call are taken to make plain directories."""
    try:
        return (await kit.runtime.runtime_config()).linux.cgroup_driver
    except Unimplemented:
        return api.CGROUPFS


async def _listed(kit: Kit, sandbox_id: str) -> list[api.PodSandbox]:
    found = await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(id=sandbox_id))
    return [entry for entry in found if entry.id == sandbox_id]


async def _in_list(kit: Kit, sandbox_id: str) -> api.PodSandbox:
    """The entry of the list. Raises Unmet where it does not have exactly one."""
    found = await _listed(kit, sandbox_id)
    equal([entry.id for entry in found], [sandbox_id], "ids in the list")
    return found[0]


@case("sandbox", "a new sandbox is ready")
async def _(kit: Kit) -> None:
    equal((await kit.pod_status(await kit.sandbox())).state, api.SANDBOX_READY, "state")


SECURITY: dict[str, dict[str, Any]] = {
    "the older seccomp path runtime/default": {"seccomp_profile_path": "runtime/default"},
    "the older seccomp path unconfined": {"seccomp_profile_path": "unconfined"},
    "an AppArmor profile Unconfined": {"apparmor": profile("Unconfined")},
    "supplemental groups and the policy Strict": {
        "supplemental_groups": [7],
        "supplemental_groups_policy": api.SupplementalGroupsPolicy.Strict,
    },
}


@table("sandbox", {f"one with {name} runs containers": (fields,) for name, fields in SECURITY.items()})
async def _(kit: Kit, fields: dict[str, Any]) -> None:
    """With a shared PID namespace: where a sandbox has a process of its own, it has one then."""
    shared = api.NamespaceOption(pid=api.POD)
    sandbox_id = await kit.sandbox(linux=pod_security(namespace_options=shared, **fields))
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_READY, "state")
    output = await kit.shell("echo runs", sandbox_id, linux=security(namespace_options=shared))
    equal(output, "runs\n", "output")


@case("sandbox", "a stopped sandbox is not ready")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_NOTREADY, "state")
    equal([entry.state for entry in await _listed(kit, sandbox_id)], [api.SANDBOX_NOTREADY], "state in the list")


@case("sandbox", "a removed sandbox is neither found nor listed")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    await kit.runtime.remove_pod_sandbox(sandbox_id)
    await kit.refused(kit.runtime.pod_sandbox_status(sandbox_id), NotFound, fixed=True)
    equal(await _listed(kit, sandbox_id), [], "the list")


@case("sandbox", "a ready sandbox is removed by force")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.remove_pod_sandbox(sandbox_id)
    equal(await _listed(kit, sandbox_id), [], "the list")


@case("sandbox", "an id has 64 hexadecimal digits")
async def _(kit: Kit) -> None:
    matches(await kit.sandbox(), "[0-9a-f]{64}", "id")


@case("sandbox", "metadata, labels and annotations come back as given")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config(
        labels={"io.kubernetes.pod.name": "p", "app/x": "ü", "empty": ""},
        annotations={"note": 'two\nlines, "quotes" and ✓', "long": "x" * 20000, "empty": ""},
    )
    config.metadata.attempt = 3
    sandbox_id = await kit.sandbox(config)
    for where, came in (("status", await kit.pod_status(sandbox_id)), ("list", await _in_list(kit, sandbox_id))):
        equal(came.metadata, config.metadata, f"metadata in the {where}")
        equal(dict(came.labels), dict(config.labels), f"labels in the {where}")
        equal(dict(came.annotations), dict(config.annotations), f"annotations in the {where}")


@case("sandbox", "the time of its making is within the call, in the status and in the list")
async def _(kit: Kit) -> None:
    before = time.time_ns()
    sandbox_id = await kit.sandbox()
    created = (await kit.pod_status(sandbox_id)).created_at
    holds(before <= created <= time.time_ns(), f"created_at from {before} to {time.time_ns()}", created)
    equal((await _in_list(kit, sandbox_id)).created_at, created, "created_at in the list")


@case("sandbox", "the runtime handler comes back as given")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    handler = kit.session.target.handler
    equal((await kit.pod_status(sandbox_id)).runtime_handler, handler, "runtime_handler")
    equal((await _in_list(kit, sandbox_id)).runtime_handler, handler, "runtime_handler in the list")


@case("sandbox", "an unknown runtime handler is refused by its name")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    await kit.refused(kit.runtime.run_pod_sandbox(config, "no-such-handler"), InvalidArgument, says="no-such-handler")


@case("sandbox", "stopping it kills what runs in it")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.start(["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"], sandbox_id)
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    status = await kit.status(container_id)
    equal((status.state, status.exit_code), (api.CONTAINER_EXITED, 137), "state and exit code of its container")


@case("sandbox", "removing it removes its containers, running, created and exited ones")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    made = [await kit.idle(sandbox_id), await kit.create(["true"], sandbox_id), await kit.start(["true"], sandbox_id)]
    await kit.ended(made[2])
    await kit.runtime.remove_pod_sandbox(sandbox_id)
    for container_id in made:
        await kit.refused(kit.status(container_id), NotFound, fixed=True)


@case("sandbox", "no container is made in a stopped one")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    await kit.refused(kit.create(["true"], sandbox_id), FailedPrecondition)


@case("sandbox", "the same Pod gets a new sandbox with a higher attempt beside the stopped one")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    first = await kit.sandbox(config)
    await kit.runtime.stop_pod_sandbox(first)
    config.metadata.attempt = 1
    second = await kit.sandbox(config)
    holds(first != second, "two ids", first)
    equal((await kit.pod_status(second)).state, api.SANDBOX_READY, "state of the new one")


@case("sandbox", "a name is free again when its sandbox is removed")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    first = await kit.sandbox(config)
    await kit.runtime.remove_pod_sandbox(first)
    holds(await kit.sandbox(config) != first, "a new id", first)


@table(
    "sandbox",
    {
        "Pods that differ only in their name stand side by side": ("name", "other-name"),
        "Pods that differ only in their namespace stand side by side": ("namespace", "other"),
        "Pods that differ only in their uid stand side by side": ("uid", "other-uid"),
    },
)
async def _(kit: Kit, field: str, value: str) -> None:
    config = kit.sandbox_config()
    first = await kit.sandbox(config)
    setattr(config.metadata, field, f"{value}-{kit.session.id}")
    holds(await kit.sandbox(config) != first, "a second sandbox", first)


@case("sandbox", "ten made at once are ten")
async def _(kit: Kit) -> None:
    made = await asyncio.gather(*(kit.sandbox() for _ in range(10)))
    equal(len(set(made)), 10, "different ids")
    addresses = [(await kit.pod_status(sandbox_id)).network.ip for sandbox_id in made]
    equal(len(set(addresses)), 10, f"different addresses ({addresses})")


@case("sandbox", "containers' statuses in its own are those that containers have, or none")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    container_id = await kit.idle(sandbox_id)
    answer = await kit.runtime.pod_sandbox_status(sandbox_id)
    if answer.containers_statuses:
        equal([entry.id for entry in answer.containers_statuses], [container_id], "containers_statuses")
        holds(answer.timestamp > 0, "timestamp above 0", answer.timestamp)


@case("sandbox", "details come only when they are asked for, and have its pid")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    equal(dict((await kit.runtime.pod_sandbox_status(sandbox_id)).info), {}, "info without verbose")
    info = (await kit.runtime.pod_sandbox_status(sandbox_id, verbose=True)).info
    contains(info, "info", "info with verbose")
    contains(json.loads(info["info"]), "pid", "info[info]")


@case("sandbox", "overhead and resources of the Pod are accepted")
async def _(kit: Kit) -> None:
    linux = api.LinuxPodSandboxConfig(
        overhead=pod_limits(cpu_shares=10, memory_limit_in_bytes=8 << 20),
        resources=pod_limits(cpu_period=100000, cpu_quota=50000, cpu_shares=512, memory_limit_in_bytes=128 << 20),
    )
    sandbox_id = await kit.sandbox(linux=linux)
    equal(await kit.shell("echo runs", sandbox_id), "runs\n", "output")


@case("sandbox", "resources of a sandbox are updated", needs="the call UpdatePodSandboxResources")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    request = api.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=sandbox_id, overhead=pod_limits(cpu_shares=4), resources=pod_limits(cpu_shares=200)
    )
    await kit.runtime.call("UpdatePodSandboxResources", request)
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_READY, "state")


@case("sandbox", "its own process may have a user, groups and a read-only root")
async def _(kit: Kit) -> None:
    security = api.LinuxSandboxSecurityContext(
        namespace_options=api.NamespaceOption(pid=api.POD),
        run_as_user=api.Int64Value(value=1000),
        run_as_group=api.Int64Value(value=1000),
        supplemental_groups=[2000],
        readonly_rootfs=True,
    )
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(security_context=security))
    equal((await kit.pod_status(sandbox_id)).state, api.SANDBOX_READY, "state")


@case("sandbox", "a cgroup parent of the request holds the Pod's processes")
async def _(kit: Kit) -> None:
    driver = await cgroup_driver(kit)
    name = f"validate{kit.session.id}" + (".slice" if driver == api.SYSTEMD else "")
    parent = name if driver == api.SYSTEMD else f"/{name}"
    sandbox_id = await kit.sandbox(linux=api.LinuxPodSandboxConfig(cgroup_parent=parent))
    container_id = await kit.idle(sandbox_id)
    try:
        contains(((await kit.process(container_id)) / "cgroup").read_text(), name, "cgroups of a container's process")
    finally:
        await kit.runtime.remove_pod_sandbox(sandbox_id)
        top = Path("/sys/fs/cgroup")  # of version 2, or the folder of version 1's hierarchies
        for folder in (top / name, *top.glob(f"*/{name}")):
            with contextlib.suppress(OSError):
                folder.rmdir()


@case("sandbox", "the same name with another configuration is refused while the first one is there")
async def _(kit: Kit) -> None:
    config = kit.sandbox_config()
    await kit.sandbox(config)
    config.annotations["changed"] = "yes"
    await kit.refused(kit.sandbox(config), AlreadyExists)
