"""The commands about images that need more than the CRI, against the daemon."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.e2e.test_command_line import CommandLine
from tests.support.commands import LIMIT, PODYARD
from tests.support.faulty import Proxy
from tests.support.images import Images
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.errors import PermissionDenied


@pytest.fixture
def cli(podyard: Podyard, tmp_path: Path) -> CommandLine:
    return CommandLine(podyard.endpoint, tmp_path)


@pytest.fixture
async def client(podyard: Podyard) -> AsyncIterator[Client]:
    async with await Client.connect(podyard.endpoint) as client:
        yield client


async def test_an_image_is_looked_at_named_compared_saved_and_loaded(
    cli: CommandLine, client: Client, images: Images, tmp_path: Path
) -> None:
    for name in (images.busybox, images.layered):
        await client.images.pull_image(name)
    found = cli.json("image", "inspect", images.layered)
    assert found["repo_tags"] == [images.layered]
    assert found["manifests"][0]["content"]["config"]["digest"] == found["id"]
    chain = [layer["chain_id"] for layer in found["layers"]]
    assert [step["chain_id"] for step in cli.json("image", "history", images.layered)] == chain[::-1]

    changes = {change["path"]: change["kind"] for change in cli.json("image", "diff", images.busybox, images.layered)}
    assert changes["/a/replaced"] == "added"
    assert "/gone" not in changes
    assert "/bin/busybox" not in changes

    saved = tmp_path / "saved.tar"
    cli("image", "tag", images.layered, "r.test/saved:1")
    cli("image", "save", "r.test/saved:1", "--to", str(saved))
    with tarfile.open(saved) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert sorted(manifest["RepoTags"]) == sorted([images.layered, "r.test/saved:1"])
    # With all its names it is gone, and comes back with them.
    cli("rmi", "r.test/saved:1")
    assert not (await client.images.image_status(images.layered)).HasField("image")
    [loaded] = cli.json("image", "load", str(saved))
    assert (loaded["id"], sorted(loaded["repo_tags"])) == (found["id"], sorted(manifest["RepoTags"]))
    # The same by way of pipes.
    podyard = shlex.join([*PODYARD, "-r", client.endpoint])
    piped = f"{podyard} image save {images.busybox} --to - | {podyard} load - -q"
    busybox = (await client.images.image_status(images.busybox)).image.id
    assert subprocess.check_output(piped, shell=True, text=True, timeout=LIMIT) == f"{busybox}\n"
    assert [layer["chain_id"] for layer in cli.json("image", "inspect", "r.test/saved:1")["layers"]] == chain
    cli("rmi", "r.test/saved:1")


async def test_the_tree_shows_what_images_share(cli: CommandLine, client: Client, images: Images) -> None:
    for name in (images.busybox, images.zstd):
        await client.images.pull_image(name)
    shared = {
        layer["chain_id"]: {tag for user in layer["images"] for tag in user["repo_tags"]}
        for layer in cli.json("images", "--tree")
    }
    base, own = (layer["chain_id"] for layer in cli.json("image", "inspect", images.zstd)["layers"])
    assert shared[base] >= {images.busybox, images.zstd}
    assert shared[own] == {images.zstd}
    drawn = cli("images", "--tree").splitlines()
    assert any(line.endswith(f"= {images.zstd}") for line in drawn)


async def test_a_pull_is_seen_by_others_and_what_it_leaves_is_told(
    cli: CommandLine, client: Client, images: Images
) -> None:
    await client.images.pull_image(images.busybox)
    reached, go = asyncio.Event(), asyncio.Event()

    async def refuse_later(request: web.Request, answer: web.Response) -> web.StreamResponse:
        reached.set()
        await go.wait()
        return web.Response(status=403)

    async with Proxy(images.registry).serving() as proxy:
        name = images.large.replace(images.registry, proxy.address)
        # The second one is the layer; the first its configuration.
        proxy.fault("/blobs/", _good)
        proxy.fault("/blobs/", refuse_later)
        pull = asyncio.create_task(client.images.pull_image(name))
        await reached.wait()
        [seen] = [entry for entry in await _json(cli, "pulls") if entry["reference"] == name]
        assert seen["layers"][0]["state"] == "downloading"
        assert int(seen["layers"][0]["total"]) > 12_000_000
        assert name in await asyncio.to_thread(cli, "pulls")
        go.set()
        with pytest.raises(PermissionDenied, match="403"):
            await pull
        assert name not in await asyncio.to_thread(cli, "pulls")
    report = cli.json("fsck")
    assert int(report["images"]) > 0
    assert report["findings"] == []
    assert {item["why"] for item in cli.json("gc", "--dry-run") if item["held"]} >= {"it has not been removed"}
    cli("gc")
    assert [item for item in cli.json("gc", "--dry-run") if not item["held"]] == []


async def test_an_interrupted_pull_goes_on_which_is_told(
    podyard: Podyard, cli: CommandLine, client: Client, images: Images
) -> None:
    await client.images.pull_image(images.busybox)
    reached, go = asyncio.Event(), asyncio.Event()

    async def pass_later(request: web.Request, answer: web.Response) -> web.StreamResponse:
        reached.set()
        await go.wait()
        return answer

    async with Proxy(images.registry).serving() as proxy:
        name = images.large.replace(images.registry, proxy.address)
        proxy.fault("/blobs/", _good)
        proxy.fault("/blobs/", pass_later)
        pull = await asyncio.create_subprocess_exec(
            *PODYARD, "--runtime-endpoint", podyard.endpoint, "pull", name, stderr=asyncio.subprocess.PIPE
        )
        await reached.wait()
        pull.send_signal(signal.SIGINT)
        _, complaint = await pull.communicate()
        assert pull.returncode == 130
        assert f'podyard goes on pulling {name}; "podyard pulls" shows it' in complaint.decode()
        assert name in await asyncio.to_thread(cli, "pulls")
        go.set()
        await client.images.pull_image(name)
    cli("rmi", name)


async def _good(request: web.Request, answer: web.Response) -> web.StreamResponse:
    return answer


async def _json(cli: CommandLine, *arguments: str) -> Any:
    return await asyncio.to_thread(cli.json, *arguments)
