"""The fields of a container's mounts: what only podyard has of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import Kit, security
from tests.support.servers import Podyard

from podyard.cri import api
from podyard.errors import InvalidArgument, NotFound
from podyard.linux import mounts


async def test_mount_options(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    (ours.folder / "script").write_text("#!/bin/sh\necho ran\n")
    (ours.folder / "script").chmod(0o755)
    volume = api.Mount(container_path="/v", host_path=str(ours.folder), mount_options=["noexec"])
    assert "denied" in await ours.shell(sandbox_id, "/v/script 2>&1 || true", mounts=[volume])


async def test_read_only_at_all_depths(ours: Kit) -> None:
    below = ours.folder / "source" / "below"
    below.mkdir(parents=True)
    mounts.mount_tmpfs(below, "")
    try:
        status = await ours.client.runtime.status()
        assert all(handler.features.recursive_read_only_mounts for handler in status.runtime_handlers)
        sandbox_id = await ours.sandbox()
        path = str(ours.folder / "source")
        volumes = [
            api.Mount(container_path="/plain", host_path=path, readonly=True),
            api.Mount(container_path="/deep", host_path=path, readonly=True, recursive_read_only=True),
        ]
        script = "for f in /plain/below/x /deep/below/y /deep/z; do touch $f 2>/dev/null && echo $f; done; true"
        assert await ours.shell(sandbox_id, script, mounts=volumes) == "/plain/below/x\n"
    finally:
        mounts.unmount(below)


async def test_a_volume_with_mappings_of_its_own(ours: Kit) -> None:
    (ours.folder / "data").mkdir()
    (ours.folder / "data" / "file").touch()
    mapping = api.IDMapping(container_id=0, host_id=1000, length=10)
    volume = api.Mount(
        container_path="/v", host_path=str(ours.folder / "data"), uidMappings=[mapping], gidMappings=[mapping]
    )
    sandbox_id = await ours.sandbox()
    linux = security(run_as_username="member")
    script = "stat -c %u:%g /v/file; echo x > /v/file; touch /v/new"
    assert await ours.shell(sandbox_id, script, mounts=[volume], linux=linux) == "1000:1000\n"
    assert (ours.folder / "data" / "new").stat().st_uid == 0


async def test_an_image_as_a_volume(ours: Kit, images: Images) -> None:
    await ours.client.images.pull_image(images.layered)
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/image", image=api.ImageSpec(image=images.layered), readonly=True)
    script = "cat /image/a/replaced; ls /image; touch /image/x 2>&1; /image/bin/busybox echo ran 2>&1; sleep 1000"
    container_id = await ours.start(sandbox_id, ["sh", "-c", script], mounts=[volume])
    volume.image.image_ref = (await ours.client.images.image_status(images.layered)).image.id
    await ours.client.images.remove_image(images.layered)
    assert await ours.exec(container_id, "cat", "/image/opaque/new") == "new\n"
    assert list((await ours.status(container_id)).mounts) == [volume]
    await ours.client.runtime.stop_container(container_id, 0)
    output = ours.output(await ours.status(container_id))
    assert output.startswith("new\n")
    assert "gone" not in output.split()
    assert "Read-only" in output
    assert output.endswith("ran\n")


async def test_a_directory_of_an_image_as_a_volume(ours: Kit, images: Images) -> None:
    await ours.client.images.pull_image(images.configured)
    sandbox_id = await ours.sandbox()
    volume = api.Mount(
        container_path="/v",
        image=api.ImageSpec(image=images.configured),
        image_sub_path="etc/../volume",
        readonly=True,
    )
    assert await ours.shell(sandbox_id, "cat /v/file; ls /v", mounts=[volume]) == "in the volume\nfile\n"


@pytest.mark.parametrize("path", ["no/such/directory", "etc/passwd", "../../../../../../../../sys/kernel"])
async def test_a_directory_that_an_image_has_not(ours: Kit, path: str) -> None:
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", image=api.ImageSpec(image=ours.image), image_sub_path=path, readonly=True)
    with pytest.raises(InvalidArgument, match=f"{path}.*is no directory there"):
        await ours.create(sandbox_id, ["true"], mounts=[volume])


async def test_a_volumes_image_that_is_not_here(ours: Kit) -> None:
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", image=api.ImageSpec(image="localhost:1/no-such-image:1"), readonly=True)
    with pytest.raises(NotFound, match="no-such-image"):
        await ours.create(sandbox_id, ["true"], mounts=[volume])


async def test_nothing_of_a_volume_is_left(podyard: Podyard, ours: Kit) -> None:
    def left() -> tuple[list[Path], list[Path]]:
        return mounts.mounted_below(podyard.folder), list((podyard.root / "containers").iterdir())

    before = left()
    sandbox_id = await ours.sandbox()
    volumes = [
        api.Mount(container_path="/image", image=api.ImageSpec(image=ours.image), image_sub_path="etc", readonly=True),
        api.Mount(container_path="/deep", host_path=str(ours.folder), readonly=True, recursive_read_only=True),
    ]
    container_id = await ours.start(sandbox_id, ["true"], mounts=volumes)
    await ours.ended(container_id)
    await ours.client.runtime.stop_pod_sandbox(sandbox_id)
    assert mounts.mounted_below(podyard.folder) == before[0]
    await ours.client.runtime.remove_container(container_id)
    assert left() == before


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "idmapped"])
@pytest.mark.parametrize("propagation", [api.PROPAGATION_HOST_TO_CONTAINER, api.PROPAGATION_BIDIRECTIONAL])
async def test_mounts_made_later(ours: Kit, propagation: api.MountPropagation.ValueType, mapped: bool) -> None:
    shared = ours.folder / "shared"
    (shared / "host").mkdir(parents=True)
    (shared / "container").mkdir()
    mounts.bind(str(shared), shared)
    subprocess.run(["mount", "--make-shared", str(shared)], check=True)
    try:
        privileged = api.LinuxPodSandboxConfig(security_context=api.LinuxSandboxSecurityContext(privileged=True))
        sandbox_id = await ours.sandbox(linux=privileged)
        volume = api.Mount(container_path="/shared", host_path=str(shared), propagation=propagation)
        if mapped:
            volume.uidMappings.add(container_id=0, host_id=0, length=10)
            volume.gidMappings.add(container_id=0, host_id=0, length=10)
        container_id = await ours.start(sandbox_id, ["sleep", "1000"], mounts=[volume], linux=security(privileged=True))
        mounts.mount_tmpfs(shared / "host", "")
        (shared / "host" / "file").touch()
        assert await ours.exec(container_id, "ls", "/shared/host") == "file\n"
        await ours.exec(container_id, "mount", "-t", "tmpfs", "none", "/shared/container")
        seen = os.path.ismount(shared / "container")
        assert seen == (propagation == api.PROPAGATION_BIDIRECTIONAL)
        await ours.close()
    finally:
        mounts.unmount_below(shared)


async def test_a_private_mount_keeps_no_directory_of_the_host_busy(ours: Kit) -> None:
    source = ours.folder / "busy"
    (source / "below").mkdir(parents=True)
    mounts.mount_tmpfs(source / "below", "")
    sandbox_id = await ours.sandbox()
    volume = api.Mount(container_path="/v", host_path=str(source), readonly=True, recursive_read_only=True)
    container_id = await ours.start(sandbox_id, ["sleep", "1000"], mounts=[volume])
    assert "Read-only" in await ours.exec(container_id, "sh", "-c", "touch /v/below/x 2>&1 || true")
    mounts.unmount_below(source)
    (source / "below").rmdir()
