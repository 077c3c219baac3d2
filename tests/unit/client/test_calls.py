"""Calls: what is sent and what comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podyard import errors
from podyard.client import Client
from podyard.cri import admin, api

READY = api.StatusResponse(
    status=api.RuntimeStatus(
        conditions=[
            api.RuntimeCondition(type="RuntimeReady", status=True),
            api.RuntimeCondition(type="NetworkReady", status=False),
        ]
    )
)
SANDBOX = api.PodSandboxStatusResponse(
    status=api.PodSandboxStatus(
        id="s", metadata=api.PodSandboxMetadata(name="web", uid="u", namespace="default"), created_at=1
    )
)
CONTAINER = api.ContainerStatusResponse(
    status=api.ContainerStatus(
        id="c",
        metadata=api.ContainerMetadata(name="main"),
        created_at=1,
        image=api.ImageSpec(image="busybox"),
        image_ref="sha256:1",
    )
)
OUTPUT = api.ExecSyncResponse(stdout=b"\xffout", exit_code=3)
POD = api.PodSandboxConfig(hostname="web")
MAIN = api.ContainerConfig(command=["sh"])

RUNTIME_CALLS: list[tuple[Callable[[Client], Awaitable[Any]], Any, Any, Any]] = [
    (lambda c: c.runtime.status(verbose=True), api.StatusRequest(verbose=True), READY, READY),
    (
        lambda c: c.runtime.runtime_config(),
        api.RuntimeConfigRequest(),
        api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=api.CGROUPFS)),
        api.RuntimeConfigResponse(linux=api.LinuxRuntimeConfiguration(cgroup_driver=api.CGROUPFS)),
    ),
    (
        lambda c: c.runtime.run_pod_sandbox(POD, "kata"),
        api.RunPodSandboxRequest(config=POD, runtime_handler="kata"),
        api.RunPodSandboxResponse(pod_sandbox_id="s"),
        "s",
    ),
    (
        lambda c: c.runtime.stop_pod_sandbox("s"),
        api.StopPodSandboxRequest(pod_sandbox_id="s"),
        api.StopPodSandboxResponse(),
        None,
    ),
    (
        lambda c: c.runtime.remove_pod_sandbox("s"),
        api.RemovePodSandboxRequest(pod_sandbox_id="s"),
        api.RemovePodSandboxResponse(),
        None,
    ),
    (
        lambda c: c.runtime.pod_sandbox_status("s", verbose=True),
        api.PodSandboxStatusRequest(pod_sandbox_id="s", verbose=True),
        SANDBOX,
        SANDBOX,
    ),
    (
        lambda c: c.runtime.list_pod_sandbox(api.PodSandboxFilter(id="s")),
        api.ListPodSandboxRequest(filter=api.PodSandboxFilter(id="s")),
        api.ListPodSandboxResponse(items=[api.PodSandbox(id="s")]),
        [api.PodSandbox(id="s")],
    ),
    (
        lambda c: c.runtime.create_container("s", MAIN, POD),
        api.CreateContainerRequest(pod_sandbox_id="s", config=MAIN, sandbox_config=POD),
        api.CreateContainerResponse(container_id="c"),
        "c",
    ),
    (
        lambda c: c.runtime.start_container("c"),
        api.StartContainerRequest(container_id="c"),
        api.StartContainerResponse(),
        None,
    ),
    (
        lambda c: c.runtime.stop_container("c", 7),
        api.StopContainerRequest(container_id="c", timeout=7),
        api.StopContainerResponse(),
        None,
    ),
    (
        lambda c: c.runtime.remove_container("c"),
        api.RemoveContainerRequest(container_id="c"),
        api.RemoveContainerResponse(),
        None,
    ),
    (
        lambda c: c.runtime.container_status("c"),
        api.ContainerStatusRequest(container_id="c"),
        CONTAINER,
        CONTAINER,
    ),
    (
        lambda c: c.runtime.list_containers(),
        api.ListContainersRequest(),
        api.ListContainersResponse(containers=[api.Container(id="c")]),
        [api.Container(id="c")],
    ),
    (
        lambda c: c.runtime.exec_sync("c", ("echo", "x"), 9),
        api.ExecSyncRequest(container_id="c", cmd=["echo", "x"], timeout=9),
        OUTPUT,
        OUTPUT,
    ),
    (
        lambda c: c.runtime.reopen_container_log("c"),
        api.ReopenContainerLogRequest(container_id="c"),
        api.ReopenContainerLogResponse(),
        None,
    ),
    (
        lambda c: c.runtime.call("UpdateContainerResources", api.UpdateContainerResourcesRequest(container_id="c")),
        api.UpdateContainerResourcesRequest(container_id="c"),
        api.UpdateContainerResourcesResponse(),
        api.UpdateContainerResourcesResponse(),
    ),
]
IMAGE = api.ImageStatusResponse(image=api.Image(id="sha256:1", size=9))
SPEC = api.ImageSpec(image="busybox", annotations={"a": "b"})
AUTH = api.AuthConfig(username="me")

IMAGE_CALLS: list[tuple[Callable[[Client], Awaitable[Any]], Any, Any, Any]] = [
    (
        lambda c: c.images.pull_image("busybox", AUTH, POD),
        api.PullImageRequest(image=api.ImageSpec(image="busybox"), auth=AUTH, sandbox_config=POD),
        api.PullImageResponse(image_ref="sha256:1"),
        "sha256:1",
    ),
    (
        lambda c: c.images.list_images(api.ImageFilter(image=SPEC)),
        api.ListImagesRequest(filter=api.ImageFilter(image=SPEC)),
        api.ListImagesResponse(images=[api.Image(id="sha256:1")]),
        [api.Image(id="sha256:1")],
    ),
    (lambda c: c.images.image_status(SPEC), api.ImageStatusRequest(image=SPEC), IMAGE, IMAGE),
    (
        lambda c: c.images.image_status("none"),
        api.ImageStatusRequest(image=api.ImageSpec(image="none")),
        api.ImageStatusResponse(),
        api.ImageStatusResponse(),
    ),
    (lambda c: c.images.remove_image(SPEC), api.RemoveImageRequest(image=SPEC), api.RemoveImageResponse(), None),
    (
        lambda c: c.images.image_fs_info(),
        api.ImageFsInfoRequest(),
        api.ImageFsInfoResponse(image_filesystems=[api.FilesystemUsage(timestamp=1)]),
        api.ImageFsInfoResponse(image_filesystems=[api.FilesystemUsage(timestamp=1)]),
    ),
]
ADMIN_CALLS: list[tuple[Callable[[Client], Awaitable[Any]], Any, Any, Any]] = [
    (
        lambda c: c.admin.load_images(Path("/x.tar")),
        admin.LoadImagesRequest(path="/x.tar"),
        admin.LoadImagesResponse(images=[admin.LoadedImage(id="sha256:1")]),
        [admin.LoadedImage(id="sha256:1")],
    ),
    (
        lambda c: c.admin.list_pulls(),
        admin.ListPullsRequest(),
        admin.ListPullsResponse(pulls=[admin.Pull(reference="busybox")]),
        [admin.Pull(reference="busybox")],
    ),
]


def call_name(value: Any) -> str:
    return type(value).__name__.removesuffix("Request") if type(value).__name__.endswith("Request") else ""


@pytest.mark.parametrize(("call", "request_", "answer", "result"), RUNTIME_CALLS, ids=call_name)
async def test_a_call_to_the_runtime_sends_its_request_and_unpacks_the_answer(
    runtimes: Any, make_runtime: Any, call: Any, request_: Any, answer: Any, result: Any
) -> None:
    calls = make_runtime(**{call_name(request_): answer})
    await runtimes.serve(calls=calls)
    async with await Client.connect(str(runtimes.path)) as client:
        assert await call(client) == result
    assert calls.asked(call_name(request_)) == [request_]


@pytest.mark.parametrize(("call", "request_", "answer", "result"), IMAGE_CALLS, ids=call_name)
async def test_a_call_about_images_sends_its_request_and_unpacks_the_answer(
    runtimes: Any, make_images: Any, call: Any, request_: Any, answer: Any, result: Any
) -> None:
    calls = make_images(**{call_name(request_): answer})
    await runtimes.serve(image_calls=calls)
    async with await Client.connect(str(runtimes.path)) as client:
        assert await call(client) == result
    assert calls.asked(call_name(request_))[-1] == request_


@pytest.mark.parametrize(("call", "request_", "answer", "result"), ADMIN_CALLS, ids=call_name)
async def test_an_admin_call_sends_its_request_and_unpacks_the_answer(
    runtimes: Any, make_calls: Any, call: Any, request_: Any, answer: Any, result: Any
) -> None:
    calls = make_calls(**{call_name(request_): answer})
    await runtimes.serve(admin=calls)
    async with await Client.connect(str(runtimes.path)) as client:
        assert await call(client) == result
    assert calls.asked(call_name(request_)) == [request_]


async def test_text_that_is_not_ascii_and_bytes_in_variables_arrive_unchanged(runtimes: Any, make_runtime: Any) -> None:
    calls = make_runtime(CreateContainer=api.CreateContainerResponse(container_id="c"))
    await runtimes.serve(calls=calls)
    config = api.ContainerConfig(envs=[api.KeyValue(key="A", value=b"\xff\x00")], labels={"ü": "ß"})
    async with await Client.connect(str(runtimes.path)) as client:
        await client.runtime.create_container("s", config, POD)
    assert calls.asked("CreateContainer")[0].config == config


async def test_an_answer_of_nearly_16_mib_arrives_and_a_longer_one_is_told(runtimes: Any, make_runtime: Any) -> None:
    answers = [api.ExecSyncResponse(stdout=b"c" * (15 << 20)), api.ExecSyncResponse(stdout=b"c" * (16 << 20))]

    async def answer(_request: Any) -> Any:
        return answers.pop(0)

    await runtimes.serve(calls=make_runtime(ExecSync=answer))
    async with await Client.connect(str(runtimes.path)) as client:
        assert len((await client.runtime.exec_sync("c", ["x"])).stdout) == 15 << 20
        with pytest.raises(errors.ResourceExhausted, match=r"ExecSync on unix://.*ask for less"):
            await client.runtime.exec_sync("c", ["x"])
