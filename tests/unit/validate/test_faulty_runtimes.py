"""What cases say of runtimes that do not do what they ask for, and of slow ones that do. The runtimes are stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.cri import api
from podyard.errors import Internal, NotFound
from podyard.validate import CASES, Target
from podyard.validate.cases import resources
from podyard.validate.expect import Skipped, Unmet
from podyard.validate.images import Images
from podyard.validate.kit import Kit
from podyard.validate.registry import serving


class StandIn(Kit):
    """A kit whose containers are one that is there; ``runtime`` answers what the case asks it."""

    def __init__(self, folder: Path, **calls: Any) -> None:
        self.runtime = SimpleNamespace(**calls)  # type: ignore[assignment]
        self.log = folder / "container.log"

    async def start(self, command: object = (), sandbox: str = "", **fields: object) -> str:
        return "container"

    async def status(self, container_id: str) -> api.ContainerStatus:
        return api.ContainerStatus(id=container_id, state=api.CONTAINER_EXITED, log_path=str(self.log), exit_code=0)


async def carry_out(title: str, kit: StandIn) -> None:
    [case] = [case for case in CASES if case.title == title]
    await case.body(kit)


async def test_a_pull_that_is_given_up_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime here cannot bear it: a repository of which a pull was cut off cannot be pulled any more."""
    with serving("127.0.0.1:0") as registry:
        kit = StandIn(tmp_path)
        kit.session = SimpleNamespace(images=Images(tmp_path / "images", registry), registry=registry)  # type: ignore[assignment]
        layers: list[str] = []
        cut_off: list[str] = []

        async def pull(reference: str) -> str:
            if cut_off:
                raise Internal("the pull before was cut off")
            manifest = f"http://{registry.address}/v2/validate/unique-1/manifests/1"
            try:
                text = await asyncio.to_thread(lambda: urllib.request.urlopen(manifest).read())
                layers.append(json.loads(text)["layers"][0]["digest"])
                blob = f"http://{registry.address}/v2/validate/unique-1/blobs/{layers[-1]}"
                await asyncio.to_thread(lambda: urllib.request.urlopen(blob).read())
            except asyncio.CancelledError:
                cut_off.append(reference)
                raise
            return reference

        monkeypatch.setattr(kit, "pull", pull)
        with pytest.raises(Internal):
            await carry_out("pull: a pull whose client goes away can be repeated", kit)
        assert layers != []


@pytest.mark.parametrize(("came", "passes"), [("0", True), ("200", True), ("100", False), ("-5", False)])
async def test_the_suite_may_have_another_oom_score_than_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, came: str, passes: bool
) -> None:
    own = tmp_path / "oom_score_adj"
    own.write_text("200\n")
    monkeypatch.setattr(resources, "Path", lambda path: own)
    kit = StandIn(tmp_path)

    async def shell(script: str, **fields: object) -> str:
        return f"{came}\n"

    monkeypatch.setattr(kit, "shell", shell)
    with contextlib.nullcontext() if passes else pytest.raises(Unmet):
        await carry_out("limits: an oom_score_adj of 0, or what the host grants", kit)


async def test_all_may_be_written_before_the_last_rotation(tmp_path: Path) -> None:
    kit = StandIn(tmp_path)
    text = "".join(f"line {number}\n" for number in range(1, 401)) + "the end\n"
    kit.log.write_text("".join(f"2026-01-01T00:00:00Z stdout F {line}\n" for line in text.splitlines()))

    async def reopen_container_log(container_id: str) -> None:
        kit.log.touch()

    kit.runtime = SimpleNamespace(reopen_container_log=reopen_container_log)  # type: ignore[assignment]
    await carry_out("log rotation: nothing is lost over several rotations", kit)


@pytest.mark.parametrize(
    ("files", "name", "ends_in"),
    [
        ({"cgroup.controllers": "cpu memory\n"}, "memory.max", Unmet),
        ({"cgroup.controllers": "cpu memory\n"}, "cpuset.cpus", Skipped),
        ({"cgroup.controllers": "memory\n", "system.slice/memory.swap.max": ""}, "memory.swap.max", Unmet),
        ({"cgroup.controllers": "memory\n"}, "memory.swap.max", Skipped),
        ({"memory/memory.limit_in_bytes": ""}, "memory/memory.limit_in_bytes", Unmet),
        ({"memory/memory.limit_in_bytes": ""}, "memory/memory.memsw.limit_in_bytes", Skipped),
    ],
)
async def test_what_the_hosts_kernel_has_must_be_in_the_containers_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], name: str, ends_in: type[Exception]
) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(resources, "CGROUPS", tmp_path)
    kit = StandIn(tmp_path)

    async def nothing_there(container_id: str, *command: str, timeout: int = 20) -> str:
        return "absent\n"

    monkeypatch.setattr(kit, "exec", nothing_there)
    with pytest.raises(ends_in):
        await resources.in_cgroup(kit, "container", name, name)


@pytest.mark.parametrize(("asked", "passes"), [("v1alpha2", True), ("v1", False)])
async def test_a_runtime_of_the_older_version_tells_that(tmp_path: Path, asked: str, passes: bool) -> None:
    async def version() -> api.VersionResponse:
        return api.VersionResponse(runtime_api_version="v1alpha2")

    kit = StandIn(tmp_path, version=version)
    kit.client = SimpleNamespace(runtime_version=asked)  # type: ignore[assignment]
    with contextlib.nullcontext() if passes else pytest.raises(Unmet):
        await carry_out("version: the API version is that of the service that was asked", kit)


@pytest.mark.parametrize(
    "title", ["container: the list names its sandbox", "sandbox: the runtime handler comes back as given"]
)
async def test_what_is_not_in_a_list_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    async def nothing(wanted: object) -> list[object]:
        return []

    async def made(*given: object) -> str:
        return "the-id"

    async def pod_sandbox_status(id: str) -> api.PodSandboxStatusResponse:
        return api.PodSandboxStatusResponse(status=api.PodSandboxStatus(id=id))

    kit = StandIn(tmp_path, list_containers=nothing, list_pod_sandbox=nothing, pod_sandbox_status=pod_sandbox_status)
    kit.session = SimpleNamespace(target=Target(runtime_endpoint=""))  # type: ignore[assignment]
    for call in ("create", "sandbox", "shared"):
        monkeypatch.setattr(kit, call, made)
    with pytest.raises(Unmet, match="ids in the list"):
        await carry_out(title, kit)


async def test_a_sandbox_without_an_address_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pod_sandbox_status(id: str) -> api.PodSandboxStatusResponse:
        return api.PodSandboxStatusResponse(status=api.PodSandboxStatus(id=id))

    async def shared() -> str:
        return "the-id"

    kit = StandIn(tmp_path, pod_sandbox_status=pod_sandbox_status)
    monkeypatch.setattr(kit, "shared", shared)
    with pytest.raises(Unmet, match="an address in the status"):
        await carry_out("network: a sandbox has an address, which an interface inside has, too", kit)


async def test_a_runtime_may_keep_the_images_of_each_handler_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled: set[str] = set()
    handlers: dict[str, str] = {}

    async def pull_image(image: api.ImageSpec) -> str:
        pulled.add(image.runtime_handler)
        return "the-image"

    async def run_pod_sandbox(config: api.PodSandboxConfig, handler: str) -> str:
        handlers["of-the-handler"] = handler
        return "of-the-handler"

    async def create(command: object, sandbox: str = "shared", *, image: api.ImageSpec) -> str:
        if image.runtime_handler not in pulled or handlers.get(sandbox) != image.runtime_handler:
            raise NotFound("no such image for that handler")
        return "container"

    async def image_of(name: str) -> str:
        return "registry/busybox:1"

    async def making(call: Any) -> str:
        return str(await call)

    kit = StandIn(tmp_path, run_pod_sandbox=run_pod_sandbox)
    kit.images = SimpleNamespace(pull_image=pull_image)  # type: ignore[assignment]
    status = api.StatusResponse(runtime_handlers=[api.RuntimeHandler(name="vm")])
    target = Target(runtime_endpoint="")
    kit.session = SimpleNamespace(target=target, status=status, making=making, configs={})  # type: ignore[assignment]
    for name, call in {"create": create, "image": image_of, "sandbox_config": api.PodSandboxConfig}.items():
        monkeypatch.setattr(kit, name, call)
    await carry_out("container: an image is found for the handler that is to run it", kit)


class Mute:
    """A session that takes input and ends without any output."""

    stdin: Any

    def __init__(self) -> None:
        async def write(data: bytes) -> None:
            return

        self.stdin = SimpleNamespace(write=write)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


@pytest.mark.parametrize("title", [case.title for case in CASES if case.subject == "attach"])
async def test_attach_must_bring_output(tmp_path: Path, title: str) -> None:
    @contextlib.asynccontextmanager
    async def attach(container_id: str, **fields: object) -> AsyncIterator[Mute]:
        yield Mute()

    kit = StandIn(tmp_path, attach=attach)
    with pytest.raises(Unmet) as unmet:
        await carry_out(title, kit)
    assert unmet.value.expected.startswith(("three lines", "what came back"))
