"""CheckpointContainer, as far as a host allows: CRIU itself, its absence, and the archive around what CRIU saves."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support import saving
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podyard]:
    """A podyard with a second handler, whose OCI runtime saves containers without CRIU."""
    folder = tmp_path_factory.mktemp("checkpoint")
    server = Podyard(folder / "own", **{"runtime.handlers.saving": {"path": str(saving.install(folder))}})
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.reset()


@pytest.fixture
async def kit(own: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with await Client.connect(own.endpoint) as client:
        await client.images.pull_image(images.busybox)
        kit = Kit(client, own.folder / "tests", images.busybox, own.name)
        try:
            yield kit
        finally:
            await kit.close()


async def sandbox(kit: Kit, handler: str = "") -> str:
    config = kit.sandbox_config()
    sandbox_id = await kit.client.runtime.run_pod_sandbox(config, handler)
    kit.configs[sandbox_id] = config
    return sandbox_id


@pytest.mark.skipif(shutil.which("criu") is not None, reason="this host has CRIU")
async def test_without_criu_the_reason_is_told_and_the_container_goes_on(
    kit: Kit, own: Podyard, tmp_path: Path
) -> None:
    container_id = await kit.start(await sandbox(kit), ["sleep", "1000"])
    before = await kit.status(container_id)
    with pytest.raises((FailedPrecondition, Unimplemented), match=r"(?i)criu"):
        await kit.client.runtime.checkpoint_container(container_id, str(tmp_path / "x.tar"))
    assert list(tmp_path.iterdir()) == []
    assert not (own.root / "containers" / container_id / "checkpoint").exists()
    assert await kit.status(container_id) == before
    assert await kit.exec(container_id, "echo", "alive") == "alive\n"


@pytest.mark.skipif(shutil.which("criu") is None, reason="this host has no CRIU")
async def test_with_criu_there_is_an_archive_or_its_reason(kit: Kit, tmp_path: Path) -> None:
    container_id = await kit.start(await sandbox(kit), ["sleep", "1000"])
    try:
        await kit.client.runtime.checkpoint_container(container_id, str(tmp_path / "x.tar"))
    except FailedPrecondition as error:
        assert "CRIU's log" in str(error)
        assert list(tmp_path.iterdir()) == []
    else:
        with tarfile.open(tmp_path / "x.tar") as archive:
            assert any(name.startswith("checkpoint/core-") for name in archive.getnames())
    assert await kit.exec(container_id, "echo", "alive") == "alive\n"


async def test_the_archive_has_what_others_look_for(kit: Kit, own: Podyard, tmp_path: Path) -> None:
    sandbox_id = await sandbox(kit, "saving")
    script = "echo new > /new; rm /bin/busybox-link 2>/dev/null; rm -r /etc; mkdir /etc; echo me > /etc/me; sleep 1000"
    (tmp_path / "data").mkdir(mode=0o750)
    mount = api.Mount(host_path=str(tmp_path / "data"), container_path="/data")
    container_id = await kit.start(sandbox_id, ["sh", "-c", script], name="main", mounts=[mount])
    async with asyncio.timeout(20 * PATIENCE):
        while (await kit.client.runtime.exec_sync(container_id, ["cat", "/etc/me"])).exit_code:
            await asyncio.sleep(0.02)
    location = tmp_path / "main.tar"
    await kit.client.runtime.checkpoint_container(container_id, str(location))
    assert location.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "main.tar"]
    with tarfile.open(location) as archive:
        content = {name: archive.extractfile(name) for name in archive.getnames() if archive.getmember(name).isfile()}
        read = {name: file.read() for name, file in content.items() if file is not None}
    assert read["checkpoint/pages-1.img"] == b"pages\n"
    config = json.loads(read["config.dump"])
    assert (config["id"], config["name"], config["runtime"]) == (container_id, "main", "saving-runc")
    assert config["rootfsImageName"] == kit.image
    assert json.loads(read["spec.dump"])["process"]["args"] == ["sh", "-c", script]
    binds = {bind["destination"]: bind for bind in json.loads(read["bind.mounts"])}
    assert binds["/data"]["file_type"] == "directory"
    assert binds["/data"]["permissions"] == 0o750
    with tarfile.open(fileobj=io.BytesIO(read["rootfs-diff.tar"])) as diff:
        written = diff.extractfile("new")
        assert written is not None
        assert written.read() == b"new\n"
        assert "etc/me" in diff.getnames()
    deleted = json.loads(read["deleted.files"])
    assert "etc/passwd" in deleted
    assert not {"etc", "etc/me", "new"} & set(deleted)
    assert not (own.root / "containers" / container_id / "checkpoint").exists()
    with pytest.raises(AlreadyExists):
        await kit.client.runtime.checkpoint_container(container_id, str(location))


async def test_what_cannot_be_is_refused(kit: Kit, tmp_path: Path) -> None:
    runtime = kit.client.runtime
    sandbox_id = await sandbox(kit)
    created = await kit.create(sandbox_id, ["true"])
    running = await kit.start(sandbox_id, ["sleep", "1000"])
    with pytest.raises(NotFound):
        await runtime.checkpoint_container("0" * 64, str(tmp_path / "x"))
    with pytest.raises(FailedPrecondition, match="created, not running"):
        await runtime.checkpoint_container(created, str(tmp_path / "x"))
    with pytest.raises(InvalidArgument, match="absolute"):
        await runtime.checkpoint_container(running, "x.tar")
    with pytest.raises(NotFound, match="no directory"):
        await runtime.checkpoint_container(running, str(tmp_path / "none" / "x.tar"))
