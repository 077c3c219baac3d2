"""A container's life: its states, times, metadata, and what its status says."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from podyard.validate.case import case, table
from podyard.validate.expect import Unmet, contains, equal, holds, matches, skip
from podyard.validate.kit import Kit
from podyard.validate.requests import bind, limits, security, value

CREATED, RUNNING, EXITED = api.CONTAINER_CREATED, api.CONTAINER_RUNNING, api.CONTAINER_EXITED


async def _in_list(kit: Kit, container_id: str) -> api.Container:
    """The entry of the list. Raises Unmet where it does not have exactly one."""
    listed = await kit.runtime.list_containers(api.ContainerFilter(id=container_id))
    found = [entry for entry in listed if entry.id == container_id]
    equal([entry.id for entry in found], [container_id], "ids in the list")
    return found[0]


@case("container", "a container goes from created over running to exited, in status and list")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["sh", "-c", "sleep 0.5"])
    seen = [(await kit.status(container_id)).state, (await _in_list(kit, container_id)).state]
    await kit.runtime.start_container(container_id)
    seen += [(await kit.status(container_id)).state, (await _in_list(kit, container_id)).state]
    await kit.ended(container_id)
    seen += [(await kit.status(container_id)).state, (await _in_list(kit, container_id)).state]
    equal(seen, [CREATED, CREATED, RUNNING, RUNNING, EXITED, EXITED], "states")


@case("container", "created, started and finished are in this order, and 0 before they happen")
async def _(kit: Kit) -> None:
    before = time.time_ns()
    container_id = await kit.create(["sh", "-c", "sleep 0.5"])
    status = await kit.status(container_id)
    holds(before <= status.created_at <= time.time_ns(), "created_at within the call", status.created_at)
    equal((status.started_at, status.finished_at), (0, 0), "started_at and finished_at of a created one")
    await kit.runtime.start_container(container_id)
    status = await kit.status(container_id)
    holds(status.created_at <= status.started_at <= time.time_ns(), "started_at after created_at", status.started_at)
    equal(status.finished_at, 0, "finished_at of a running one")
    status = await kit.ended(container_id)
    holds(status.started_at < status.finished_at <= time.time_ns(), "finished_at after started_at", status)


@case("container", "an id has 64 hexadecimal digits")
async def _(kit: Kit) -> None:
    matches(await kit.create(["true"]), "[0-9a-f]{64}", "id")


@case("container", "metadata, labels and annotations come back as given")
async def _(kit: Kit) -> None:
    config = await kit.container_config(
        ["true"],
        labels={"io.kubernetes.container.name": "c", "empty": "", "ü": "✓"},
        annotations={"io.kubernetes.container.hash": "abc", "text": "two\nlines", "long": "x" * 20000},
    )
    config.metadata.attempt = 7
    container_id = await kit.create_from(config)
    for where, came in (("status", await kit.status(container_id)), ("list", await _in_list(kit, container_id))):
        equal(came.metadata, config.metadata, f"metadata in the {where}")
        equal(dict(came.labels), dict(config.labels), f"labels in the {where}")
        equal(dict(came.annotations), dict(config.annotations), f"annotations in the {where}")


@case("container", "the list names its sandbox")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["true"])
    equal((await _in_list(kit, container_id)).pod_sandbox_id, await kit.shared(), "pod_sandbox_id")


@case("container", "the image is told as the request named it")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["true"])
    reference = await kit.image("busybox")
    equal((await kit.status(container_id)).image.image, reference, "image in the status")
    equal((await _in_list(kit, container_id)).image.image, reference, "image in the list")


@case("container", "the image that a person wrote in the Pod is told again")
async def _(kit: Kit) -> None:
    reference = await kit.image("busybox")
    spec = api.ImageSpec(image=reference, user_specified_image="busybox", annotations={"note": "n"})
    came = (await kit.status(await kit.create(["true"], image=spec))).image
    equal(came.user_specified_image, "busybox", "user_specified_image")


@case("container", "an image that is the one meant is taken, and another one is not", needs="the field image_ref")
async def _(kit: Kit) -> None:
    reference, other = await kit.image("busybox"), await kit.image("user-number")
    meant = (await kit.images.image_status(reference)).image.id
    await kit.create(["true"], image=api.ImageSpec(image=reference, image_ref=meant))
    if kit.strict:
        wrong = (await kit.images.image_status(other)).image.id
        call = kit.create(["true"], image=api.ImageSpec(image=reference, image_ref=wrong))
        await kit.refused(call, FailedPrecondition, says=wrong)


@case("container", "an image is found for the handler that is to run it")
async def _(kit: Kit) -> None:
    reference = await kit.image("busybox")
    names = [handler.name for handler in kit.session.status.runtime_handlers if handler.name]
    if not names:
        skip("the endpoint names no runtime handlers")
    handler = kit.session.target.handler or names[0]
    # A runtime may keep each handler's images apart.
    spec = api.ImageSpec(image=reference, runtime_handler=handler)
    await kit.images.pull_image(spec)
    config = kit.sandbox_config()
    sandbox_id = await kit.session.making(kit.runtime.run_pod_sandbox(config, handler))
    kit.session.configs[sandbox_id] = config
    await kit.create(["true"], sandbox_id, image=spec)


@case("container", "its image's id is the one that ImageStatus gives")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["true"])
    image_id = (await kit.images.image_status(await kit.image("busybox"))).image.id
    equal((await _in_list(kit, container_id)).image_id, image_id, "image_id in the list")
    equal((await kit.status(container_id)).image_id, image_id, "image_id in the status")


@case("container", "image_ref finds the image")
async def _(kit: Kit) -> None:
    status = await kit.status(await kit.create(["true"]))
    found = (await kit.images.image_status(status.image_ref)).image
    equal(found.id, (await kit.images.image_status(await kit.image("busybox"))).image.id, "image of image_ref")


@case("container", "the status names the whole path of its log")
async def _(kit: Kit) -> None:
    sandbox_id = await kit.shared()
    status = await kit.status(await kit.create(["true"], log_path="deep/er/0.log"))
    equal(status.log_path, f"{kit.session.configs[sandbox_id].log_directory}/deep/er/0.log", "log_path")


@case("container", "the status lists its mounts")
async def _(kit: Kit) -> None:
    data = kit.folder / "data"
    data.mkdir()
    wanted = [bind("/data", data, readonly=True)]
    came = [
        (mount.container_path, mount.host_path, mount.readonly)
        for mount in (await kit.status(await kit.create(["true"], mounts=wanted))).mounts
    ]
    equal(came, [("/data", str(data), True)], "mounts")


@case("container", "the status tells its limits")
async def _(kit: Kit) -> None:
    linux = limits(cpu_period=100000, cpu_quota=50000, cpu_shares=512, memory_limit_in_bytes=64 << 20)
    came = (await kit.status(await kit.create(["true"], linux=linux))).resources.linux
    expected = (100000, 50000, 512, 64 << 20)
    equal((came.cpu_period, came.cpu_quota, came.cpu_shares, came.memory_limit_in_bytes), expected, "resources")


@case("container", "the status tells user and groups that the process began with")
async def _(kit: Kit) -> None:
    linux = security(run_as_user=value(1234), run_as_group=value(77), supplemental_groups=[8, 9])
    came = (await kit.status(await kit.create(["true"], linux=linux))).user.linux
    equal((came.uid, came.gid), (1234, 77), "uid and gid")
    holds({8, 9} <= set(came.supplemental_groups), "supplemental_groups with 8 and 9", list(came.supplemental_groups))


@case("container", "details come only when they are asked for")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    equal(dict((await kit.runtime.container_status(container_id)).info), {}, "info without verbose")
    holds((await kit.runtime.container_status(container_id, verbose=True)).info, "info with verbose", "nothing")


@case("container", "the pid among the details is that of its process")
async def _(kit: Kit) -> None:
    command = ["sh", "-c", "echo runs; sleep 7531; exit"]
    container_id = await kit.start(command)
    await kit.says(container_id, "runs")
    came = ((await kit.process(container_id)) / "cmdline").read_bytes()
    equal(came, "".join(f"{word}\0" for word in command).encode(), "command line of that process")


@table(
    "container",
    {
        "the details have its sandbox": ("sandboxID",),
        "the details have its request": ("config",),
        "the details have the OCI spec that it runs with": ("runtimeSpec",),
    },
)
async def _(kit: Kit, key: str) -> None:
    container_id = await kit.idle()
    info = json.loads((await kit.runtime.container_status(container_id, verbose=True)).info["info"])
    contains(info, key, "info[info]")
    if key == "sandboxID":
        equal(info[key], await kit.shared(), key)


@case("container", "an exited one cannot be started again")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["true"])
    await kit.ended(container_id)
    await kit.refused(kit.runtime.start_container(container_id), FailedPrecondition)


@case("container", "a running one cannot be started again")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    await kit.refused(kit.runtime.start_container(container_id), FailedPrecondition, says="running")


@case("container", "a created one that was never started can be removed")
async def _(kit: Kit) -> None:
    container_id = await kit.create(["true"])
    await kit.runtime.remove_container(container_id)
    await kit.refused(kit.status(container_id), NotFound, fixed=True)


@case("container", "removing a running one kills it")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["sleep", "9753"])
    command = (await kit.process(container_id)) / "cmdline"
    await kit.runtime.remove_container(container_id)
    await kit.refused(kit.status(container_id), NotFound, fixed=True)
    holds(not command.exists() or b"9753" not in command.read_bytes(), "that its process has gone", "it runs")


@case("container", "its log stays when it is removed")
async def _(kit: Kit) -> None:
    container_id = await kit.start(["echo", "remains"])
    status = await kit.ended(container_id)
    await kit.runtime.remove_container(container_id)
    contains(Path(status.log_path).read_text(), "remains", "the log")


@case("container", "a further attempt stands beside the exited one")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    first = await kit.create_from(config)
    await kit.runtime.start_container(first)
    await kit.ended(first)
    config.metadata.attempt = 1
    second = await kit.create_from(config)
    equal({(await kit.status(entry)).metadata.attempt for entry in (first, second)}, {0, 1}, "attempts")


@case("container", "one name may stand in two sandboxes")
async def _(kit: Kit) -> None:
    config = await kit.container_config(["true"])
    made = {await kit.create_from(config, sandbox_id) for sandbox_id in (await kit.shared(), await kit.sandbox())}
    equal(len(made), 2, "different ids")


@case("container", "ten made at once in one sandbox are ten")
async def _(kit: Kit) -> None:
    made = await asyncio.gather(*(kit.start(["sh", "-c", f"echo {number}"]) for number in range(10)))
    outputs = [kit.output(await kit.ended(container_id)) for container_id in made]
    equal(outputs, [f"{number}\n" for number in range(10)], "outputs")


@case("container", "a writable layer is one container's alone")
async def _(kit: Kit) -> None:
    await kit.shell("echo mine > /file")
    equal(await kit.shell("ls /file 2>/dev/null || echo none"), "none\n", "the other's file")


@case("container", "what a container has written is there until it is removed")
async def _(kit: Kit) -> None:
    container_id = await kit.idle()
    await kit.exec(container_id, "sh", "-c", "echo kept > /file")
    equal(await kit.exec(container_id, "cat", "/file"), "kept\n", "the file")


@case("container", "it goes on when no client is connected")
async def _(kit: Kit) -> None:
    other = await kit.connect(kit.client.runtime_version)
    config = await kit.container_config(["sh", "-c", "echo one; sleep 0.5; echo two"])
    sandbox_id = await kit.shared()
    container_id = await other.runtime.create_container(sandbox_id, config, kit.session.configs[sandbox_id])
    await other.runtime.start_container(container_id)
    await other.close()
    equal(kit.output(await kit.ended(container_id)), "one\ntwo\n", "output")


@case("container", "a Windows part of a request is not carried out silently")
async def _(kit: Kit) -> None:
    if not kit.strict:
        skip("the protocol does not say what becomes of it on Linux; a strict run asks")
    windows = api.WindowsContainerConfig(security_context=api.WindowsContainerSecurityContext(run_as_username="x"))
    try:
        await kit.create(["true"], windows=windows)
    except (Unimplemented, InvalidArgument) as error:
        contains(str(error), "windows", "the error")
    else:
        raise Unmet("an error that names windows", "success")
