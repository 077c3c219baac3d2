"""CheckpointContainer, as far as a host allows: CRIU itself, its absence, and the archive around what CRIU saves."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import saving
from tests.support.images import Images
from tests.support.patience import PATIENCE
from tests.support.pods import Kit, kit_on
from tests.support.servers import Podyard

from podyard.cri import api
from podyard.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented


@pytest.fixture
async def kit(saver: Podyard, images: Images) -> AsyncIterator[Kit]:
    async with kit_on(saver, images.busybox) as kit:
        yield kit


@pytest.mark.parametrize("handler", ["", "criu"])
async def test_a_container_is_saved_or_the_reason_told_and_goes_on(
    kit: Kit, saver: Podyard, handler: str, tmp_path: Path
) -> None:
    default = re.search(r" OCI runtime: (\S+)", saver.log.read_text())
    assert default is not None
    able = knows_checkpoints("runc" if handler == "criu" else default[1])
    container_id = await kit.start(await kit.sandbox(handler=handler), ["sleep", "1000"])
    before = await kit.status(container_id)
    if able and saving.criu_works():
        await kit.client.runtime.checkpoint_container(container_id, str(tmp_path / "x.tar"))
        with tarfile.open(tmp_path / "x.tar") as archive:
            assert any(name.startswith("checkpoint/core-") for name in archive.getnames())
    else:
        with pytest.raises(FailedPrecondition if able else Unimplemented, match=r"(?i)criu"):
            await kit.client.runtime.checkpoint_container(container_id, str(tmp_path / "x.tar"))
        assert list(tmp_path.iterdir()) == []
    assert not (saver.root / "containers" / container_id / "checkpoint").exists()
    assert await kit.status(container_id) == before
    assert await kit.exec(container_id, "echo", "alive") == "alive\n"


def knows_checkpoints(runtime: str) -> bool:
    """Whether an OCI runtime was built with them; CRIU itself may be missing all the same."""
    return b"unknown command" not in subprocess.run([runtime, "checkpoint"], capture_output=True).stderr


async def test_the_archive_has_what_others_look_for(kit: Kit, saver: Podyard, tmp_path: Path) -> None:
    sandbox_id = await kit.sandbox(handler="stand-in")
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
    assert not (saver.root / "containers" / container_id / "checkpoint").exists()
    with pytest.raises(AlreadyExists):
        await kit.client.runtime.checkpoint_container(container_id, str(location))


async def test_what_cannot_be_is_refused(kit: Kit, tmp_path: Path) -> None:
    runtime = kit.client.runtime
    sandbox_id = await kit.sandbox()
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
