"""v1alpha2: the same runtime under its older name, for kubelets before 1.26."""

from __future__ import annotations

from podyard.cri import api
from podyard.errors import NotFound, PodyardError, Unimplemented
from podyard.validate.case import case
from podyard.validate.expect import contains, equal
from podyard.validate.kit import IDLE, Kit

V1ALPHA2 = "v1alpha2"


@case("v1alpha2", "the API version is that of the service that was asked")
async def _(kit: Kit) -> None:
    client = await kit.connect(V1ALPHA2)
    answer = await client.runtime.version()
    equal((answer.version, answer.runtime_api_version), ("0.1.0", V1ALPHA2), "version and runtime_api_version")


@case("v1alpha2", "the status is the same")
async def _(kit: Kit) -> None:
    client = await kit.connect(V1ALPHA2)
    old, new = await client.runtime.status(), await kit.runtime.status()
    equal(
        {entry.type: entry.status for entry in old.status.conditions},
        {entry.type: entry.status for entry in new.status.conditions},
        "conditions",
    )


@case("v1alpha2", "sandboxes and containers of v1 are seen, and the other way round")
async def _(kit: Kit) -> None:
    client = await kit.connect(V1ALPHA2)
    sandbox_id = await kit.shared()
    container_id = await kit.create(["true"])
    contains([entry.id for entry in await client.runtime.list_pod_sandbox()], sandbox_id, "sandboxes")
    contains([entry.id for entry in await client.runtime.list_containers()], container_id, "containers")
    equal((await client.runtime.container_status(container_id)).status.id, container_id, "id in the status")


@case("v1alpha2", "a whole life of a Pod")
async def _(kit: Kit) -> None:
    runtime = (await kit.connect(V1ALPHA2)).runtime
    config = kit.sandbox_config()
    sandbox_id = await kit.session.making(runtime.run_pod_sandbox(config, kit.session.target.handler))
    equal((await runtime.pod_sandbox_status(sandbox_id)).status.state, api.SANDBOX_READY, "state of the sandbox")
    container = await kit.container_config(IDLE)
    container_id = await kit.session.making(runtime.create_container(sandbox_id, container, config))
    await runtime.start_container(container_id)
    equal((await runtime.exec_sync(container_id, ["echo", "x"], 20)).stdout, b"x\n", "output")
    await runtime.reopen_container_log(container_id)
    await runtime.stop_container(container_id, 5)
    equal((await runtime.container_status(container_id)).status.exit_code, 0, "exit code")
    await runtime.remove_container(container_id)
    await runtime.stop_pod_sandbox(sandbox_id)
    await runtime.remove_pod_sandbox(sandbox_id)
    await kit.refused(runtime.pod_sandbox_status(sandbox_id), NotFound, fixed=True)


@case("v1alpha2", "images are pulled, listed and removed")
async def _(kit: Kit) -> None:
    images = (await kit.connect(V1ALPHA2)).images
    reference = kit.session.images.unique()
    image_id = await images.pull_image(reference)
    contains([entry.id for entry in await images.list_images()], image_id, "ids in the list")
    equal((await images.image_status(reference)).image.id, image_id, "id")
    await images.remove_image(reference)
    equal((await images.image_status(reference)).HasField("image"), False, "an image")


@case("v1alpha2", "errors have the same codes")
async def _(kit: Kit) -> None:
    runtime = (await kit.connect(V1ALPHA2)).runtime
    await kit.refused(runtime.container_status("0" * 64), NotFound, fixed=True)
    await kit.refused(runtime.exec_sync("0" * 64, ["true"], 5), NotFound, fixed=True)


@case("v1alpha2", "statistics are the same")
async def _(kit: Kit) -> None:
    runtime = (await kit.connect(V1ALPHA2)).runtime
    container_id = await kit.idle()
    equal((await runtime.container_stats(container_id)).attributes.id, container_id, "id")


@case("v1alpha2", "the environment arrives as in v1, where its values are bytes")
async def _(kit: Kit) -> None:
    runtime = (await kit.connect(V1ALPHA2)).runtime
    sandbox_id = await kit.shared()
    config = await kit.container_config(["sh", "-c", 'echo "$A"'], envs=[api.KeyValue(key="A", value="ü".encode())])
    call = runtime.create_container(sandbox_id, config, kit.session.configs[sandbox_id])
    container_id = await kit.session.making(call)
    await runtime.start_container(container_id)
    equal(kit.output(await kit.ended(container_id)), "ü\n", "output")


@case("v1alpha2", "a call that it does not have is unimplemented, not lost")
async def _(kit: Kit) -> None:
    runtime = (await kit.connect(V1ALPHA2)).runtime
    try:
        await runtime.runtime_config()
    except Unimplemented:
        return
    except PodyardError as error:
        equal(error.status, "UNIMPLEMENTED", "code")
