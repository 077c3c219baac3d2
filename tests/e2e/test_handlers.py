"""Runtime handlers and devices that a node's configuration names (RuntimeClass; Container Device Interface)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.images import Images
from tests.support.pods import Kit, kit_on
from tests.support.servers import Podyard, running

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """A podyard with a second runtime handler and CDI files of the test's own."""
    folder = tmp_path_factory.mktemp("fields")
    settings: dict[str, object] = {
        "runtime": {"cdi_dirs": [str(folder / "cdi-static"), str(folder / "cdi-dynamic")]},
        "runtime.handlers.second": {"path": "runc", "options": ["--debug", f"--log={folder / 'second.log'}"]},
    }
    server = Podyard(folder, **settings)
    with running(server):
        yield server


@pytest.fixture
async def ours(own: Podyard, images: Images) -> AsyncIterator[Kit]:
    """Sandboxes and containers in that podyard."""
    async with kit_on(own, images.busybox) as made:
        yield made


async def test_a_second_runtime_handler(own: Podyard, ours: Kit) -> None:
    sandbox_id = await ours.sandbox(handler="second")
    answer = await ours.client.runtime.pod_sandbox_status(sandbox_id, verbose=True)
    assert answer.status.runtime_handler == json.loads(answer.info["info"])["runtimeHandler"] == "second"
    assert await ours.shell(sandbox_id, "echo runs") == "runs\n"
    # Its own options, which the default handler's runtime has not.
    assert "level=debug" in (own.folder / "second.log").read_text()
    status = await ours.client.runtime.status()
    assert {"", "second"} <= {handler.name for handler in status.runtime_handlers}


async def test_the_images_specification_comes_back(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    [image] = await ours.client.images.list_images(api.ImageFilter(image=api.ImageSpec(image=ours.image)))
    spec = api.ImageSpec(
        image=ours.image,
        annotations={"note": "x"},
        user_specified_image="busybox",
        runtime_handler="second",
        image_ref=image.id,
    )
    volume = api.Mount(container_path="/v", image=spec, readonly=True)
    status = await ours.status(await ours.create(sandbox_id, ["true"], image=spec, mounts=[volume]))
    assert (status.image, list(status.mounts)) == (spec, [volume])


CDI_FILE = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/device",
    "containerEdits": {"env": ["SHARED=once"]},
    "devices": [
        {
            "name": "one",
            "containerEdits": {
                "env": ["ONE=1"],
                "deviceNodes": [{"path": "/dev/cdi-full", "hostPath": "/dev/full", "permissions": "rw"}],
                "additionalGids": [4242],
            },
        },
        {"name": "two", "containerEdits": {"env": ["TWO=2", "SHARED=changed"]}},
    ],
}


async def test_cdi_devices_by_field_and_by_annotation(own: Podyard, ours: Kit) -> None:
    for name in ("cdi-static", "cdi-dynamic"):
        (own.folder / name).mkdir(exist_ok=True)
    (own.folder / "cdi-static" / "example.json").write_text(json.dumps(CDI_FILE))
    hook = ours.folder / "hook"
    hook.write_text(f"#!/bin/sh\ncat > {ours.folder}/hooked\n")
    hook.chmod(0o755)
    (own.folder / "cdi-dynamic" / "mounts.yaml").write_text(
        "cdiVersion: 1.0.0\n"
        "kind: example.com/volume\n"
        "devices:\n"
        "- name: data\n"
        "  containerEdits:\n"
        f"    mounts: [{{hostPath: {ours.folder}, containerPath: /cdi, options: [ro, rbind]}}]\n"
        f"    hooks: [{{hookName: createRuntime, path: {hook}}}]\n"
    )
    sandbox_id = await ours.sandbox()
    output = await ours.shell(
        sandbox_id,
        "echo $SHARED $ONE $TWO; echo x 2>&1 > /dev/cdi-full | grep -o 'No space'; ls /cdi/hook; id -G",
        CDI_devices=[api.CDIDevice(name="example.com/device=one")],
        annotations={"cdi.k8s.io/plugin": "example.com/device=two,example.com/volume=data"},
    )
    assert output == "changed 1 2\nNo space\n/cdi/hook\n0 4242\n"
    assert json.loads((ours.folder / "hooked").read_text())["status"]


async def test_a_cdi_device_that_no_file_has(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    with pytest.raises(FailedPrecondition, match=r"example\.com/device=none"):
        await ours.create(sandbox_id, ["true"], CDI_devices=[api.CDIDevice(name="example.com/device=none")])
    with pytest.raises(InvalidArgument, match="vendor/class=device"):
        await ours.create(sandbox_id, ["true"], annotations={"cdi.k8s.io/x": "nonsense"})
