"""What is refused, call by call, and how: clients act by the code of an error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound, PodyardError
from podyard.validate.case import case, table
from podyard.validate.expect import equal, skip
from podyard.validate.kit import NOBODY, Kit
from podyard.validate.requests import limits, pod_limits

UNKNOWN: dict[str, Message] = {
    "PodSandboxStatus": api.PodSandboxStatusRequest(pod_sandbox_id=NOBODY),
    "StartContainer": api.StartContainerRequest(container_id=NOBODY),
    "ContainerStatus": api.ContainerStatusRequest(container_id=NOBODY),
    "ExecSync": api.ExecSyncRequest(container_id=NOBODY, cmd=["true"], timeout=5),
}
"""Both of the common runtimes answer NOT_FOUND: kubelets rely on it."""

UNKNOWN_NEWER: dict[str, Message] = {
    "UpdateContainerResources": api.UpdateContainerResourcesRequest(
        container_id=NOBODY, linux=pod_limits(cpu_shares=100)
    ),
    "ContainerStats": api.ContainerStatsRequest(container_id=NOBODY),
    "PodSandboxStats": api.PodSandboxStatsRequest(pod_sandbox_id=NOBODY),
    "CheckpointContainer": api.CheckpointContainerRequest(container_id=NOBODY, location="/nowhere/archive"),
    "UpdatePodSandboxResources": api.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=NOBODY, resources=pod_limits(cpu_shares=100)
    ),
}

UNKNOWN_STREAMS: dict[str, Message] = {
    "Exec": api.ExecRequest(container_id=NOBODY, cmd=["true"], stdout=True),
    "Attach": api.AttachRequest(container_id=NOBODY, stdout=True),
    "PortForward": api.PortForwardRequest(pod_sandbox_id=NOBODY),
    "ReopenContainerLog": api.ReopenContainerLogRequest(container_id=NOBODY),
}
"""Here the common runtimes differ."""


@table("errors", {f"{call} of an unknown id is NOT_FOUND": (call, request) for call, request in UNKNOWN.items()})
async def _(kit: Kit, call: str, request: Message) -> None:
    await kit.refused(kit.runtime.call(call, request), NotFound, fixed=True)


@table(
    "errors",
    {f"{call} of an unknown id is NOT_FOUND": (call, request) for call, request in UNKNOWN_NEWER.items()},
    needs="that call",
)
async def _(kit: Kit, call: str, request: Message) -> None:
    await kit.refused(kit.runtime.call(call, request), NotFound, fixed=True)


@table(
    "errors",
    {f"{call} of an unknown id is refused": (call, request) for call, request in UNKNOWN_STREAMS.items()},
    needs="that call",
)
async def _(kit: Kit, call: str, request: Message) -> None:
    await kit.refused(kit.runtime.call(call, request), NotFound)


@case("errors", "CreateContainer in an unknown sandbox is refused")
async def _(kit: Kit) -> None:
    await kit.refused(kit.create(["true"], NOBODY), NotFound)


@case("errors", "CreateContainer of an image that is not here is refused by its name")
async def _(kit: Kit) -> None:
    call = kit.create(["true"], image="localhost:1/never-seen:1")
    await kit.refused(call, NotFound, says="never-seen")


EMPTY: dict[str, Message] = {
    "PodSandboxStatus": api.PodSandboxStatusRequest(),
    "ContainerStatus": api.ContainerStatusRequest(),
    "StartContainer": api.StartContainerRequest(),
    "ExecSync": api.ExecSyncRequest(cmd=["true"], timeout=5),
    "CreateContainer": api.CreateContainerRequest(),
    "RunPodSandbox": api.RunPodSandboxRequest(),
    "Exec": api.ExecRequest(cmd=["true"], stdout=True),
    "Attach": api.AttachRequest(stdout=True),
    "PortForward": api.PortForwardRequest(),
    "ReopenContainerLog": api.ReopenContainerLogRequest(),
}


@table(
    "errors", {f"{call} without id is refused": (call, request) for call, request in EMPTY.items()}, needs="that call"
)
async def _(kit: Kit, call: str, request: Message) -> None:
    await kit.refused(kit.runtime.call(call, request), PodyardError)


EMPTY_STRICT: dict[str, Message] = {
    "StopPodSandbox": api.StopPodSandboxRequest(),
    "RemovePodSandbox": api.RemovePodSandboxRequest(),
    "StopContainer": api.StopContainerRequest(),
    "RemoveContainer": api.RemoveContainerRequest(),
}


@table("errors", {f"{call} without id does nothing": (call, request) for call, request in EMPTY_STRICT.items()})
async def _(kit: Kit, call: str, request: Message) -> None:
    """It must not be taken for the beginning of every id."""
    bystander = await kit.idle(await kit.sandbox())
    with contextlib.suppress(PodyardError):
        await kit.runtime.call(call, request)
    if (await kit.status(bystander)).state != api.CONTAINER_RUNNING:
        await kit.refused(kit.runtime.call(call, request), InvalidArgument)


Change = Callable[[api.PodSandboxConfig], Any]

WRONG_SANDBOXES: dict[str, tuple[Change, str]] = {
    "without metadata": (lambda config: config.ClearField("metadata"), ""),
    "without a name": (lambda config: config.metadata.ClearField("name"), "name"),
    "with a label of more than 4096 bytes": (lambda config: config.labels.update({"k": "v" * 4096}), "label"),
}


@table("errors", {f"a sandbox {name} is refused": row for name, row in WRONG_SANDBOXES.items()})
async def _(kit: Kit, change: Change, says: str) -> None:
    config = kit.sandbox_config()
    change(config)
    await kit.refused(kit.sandbox(config), InvalidArgument, says=says)


WRONG_CONTAINERS: dict[str, tuple[dict[str, Any], str]] = {
    "without metadata": ({"metadata": None}, ""),
    "without a name": ({"metadata": api.ContainerMetadata()}, ""),
    "without an image": ({"image": api.ImageSpec()}, ""),
    "with a label of more than 4096 bytes": ({"labels": {"k": "v" * 4096}}, "label"),
}


@table("errors", {f"a container {name} is refused": row for name, row in WRONG_CONTAINERS.items()})
async def _(kit: Kit, fields: dict[str, Any], says: str) -> None:
    await kit.refused(kit.create(["true"], **fields), InvalidArgument, says=says)


STRICT_CONTAINERS: dict[str, dict[str, Any]] = {
    "with a relative working directory": {"working_dir": "tmp"},
    "with a variable without name": {"envs": [api.KeyValue(key="", value=b"x")]},
    "with a variable whose name has an equals sign": {"envs": [api.KeyValue(key="A=B", value=b"x")]},
    "with a NUL in its command": {"args": ["a\0b"]},
}


@table("errors", {f"a container {name} is refused": (fields,) for name, fields in STRICT_CONTAINERS.items()})
async def _(kit: Kit, fields: dict[str, Any]) -> None:
    if not kit.strict:
        skip("the protocol does not say what becomes of it; a strict run asks")
    await kit.refused(kit.start(["true"], **fields), InvalidArgument)


@case("errors", "what failed leaves no container in the list")
async def _(kit: Kit) -> None:
    try:
        await kit.create(["true"], linux=limits(cpuset_cpus="4000"))
    except PodyardError:
        listed = await kit.runtime.list_containers(api.ContainerFilter(label_selector=kit.labels))
        equal([entry.id for entry in listed], [], "the list")
    else:
        skip("it is the start that fails here")


@case("errors", "what failed leaves no sandbox in the list")
async def _(kit: Kit) -> None:
    linux = api.LinuxPodSandboxConfig(sysctls={"net.core.no_such_thing": "1"})
    await kit.refused(kit.sandbox(linux=linux), PodyardError)
    listed = await kit.runtime.list_pod_sandbox(api.PodSandboxFilter(label_selector=kit.labels))
    ready = [entry.id for entry in listed if entry.state == api.SANDBOX_READY]
    equal(ready, [], "ready sandboxes in the list")
    if kit.strict:
        equal([entry.id for entry in listed], [], "the list")


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "Exec without any stream": ("Exec", {"cmd": ["true"]}),
    "Exec with a terminal and an error stream": (
        "Exec",
        {"cmd": ["true"], "tty": True, "stdout": True, "stderr": True},
    ),
    "Exec without a command": ("Exec", {"stdout": True}),
    "Attach without any stream": ("Attach", {}),
    "Attach with a terminal and an error stream": ("Attach", {"tty": True, "stdout": True, "stderr": True}),
}


@table(
    "errors",
    {f"{name} is refused": row for name, row in STREAMS.items()},
    needs="that call",
)
async def _(kit: Kit, call: str, fields: dict[str, Any]) -> None:
    container_id = await kit.session.idle()
    kind = api.ExecRequest if call == "Exec" else api.AttachRequest
    await kit.refused(kit.runtime.call(call, kind(container_id=container_id, **fields)), InvalidArgument)


@table(
    "errors", {f"{call} of an exited container is refused": (call,) for call in ("Exec", "Attach")}, needs="that call"
)
async def _(kit: Kit, call: str) -> None:
    container_id = await kit.start(["true"])
    await kit.ended(container_id)
    kind = {"Exec": api.ExecRequest(container_id=container_id, cmd=["true"], stdout=True)}
    request = kind.get(call, api.AttachRequest(container_id=container_id, stdout=True))
    await kit.refused(kit.runtime.call(call, request), PodyardError)


@case("errors", "PortForward of a stopped sandbox is refused", needs="the call PortForward")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.sandbox()
    await kit.runtime.stop_pod_sandbox(sandbox_id)
    await kit.refused(kit.runtime.call("PortForward", api.PortForwardRequest(pod_sandbox_id=sandbox_id)), PodyardError)
