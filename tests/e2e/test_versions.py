"""A pod over the older version of the protocol, and where podyard listens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.errors import EndpointError
from podyard.linux.namespaces import is_pinned


def server(folder: Path, **settings: object) -> Podyard:
    made = Podyard(folder / "podyard", **settings)
    made.folder.mkdir(parents=True, exist_ok=True)
    made.configure()
    return made


async def end(made: Podyard) -> None:
    """As ``stop`` does, from inside an event loop."""
    if made.process is not None and made.process.poll() is None:
        made.terminate()
    made.reset()
    made.network.remove()


async def test_a_pod_over_v1alpha2(images: Images, tmp_path: Path) -> None:
    made = server(tmp_path, versions=["v1alpha2"])
    made.spawn()
    try:
        await made.ready()
        async with await Client.connect(made.endpoint) as client:
            assert (client.runtime_version, client.image_version) == ("v1alpha2", "v1alpha2")
            assert (await client.runtime.version()).runtime_api_version == "v1alpha2"
            await client.images.pull_image(images.busybox)
            kit = Kit(client, tmp_path / "tests", images.busybox, made.name)
            assert await kit.shell(await kit.sandbox(), "echo over the old one") == "over the old one\n"
            await kit.close()
        with pytest.raises(EndpointError, match="v1"):
            await Client.connect(made.endpoint, versions=("v1",))
    finally:
        await end(made)


async def test_two_sockets(images: Images, tmp_path: Path) -> None:
    image_socket = tmp_path / "images.sock"
    made = server(tmp_path, image_listen=str(image_socket))
    made.spawn()
    try:
        while not image_socket.exists():
            assert made.process is not None
            assert made.process.poll() is None
            await asyncio.sleep(0.05)
        async with await Client.connect(made.endpoint, f"unix://{image_socket}") as client:
            await client.images.pull_image(images.small)
        for path in (made.socket, image_socket):
            assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(EndpointError, match="ImageService"):
            await Client.connect(made.endpoint)
    finally:
        await end(made)


async def test_a_second_socket_that_is_taken_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    taken = tmp_path / "images.sock"
    made = server(tmp_path, image_listen=str(taken))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(taken))
        listener.listen()
        made.spawn()
        try:
            with pytest.raises(AssertionError, match=f"another daemon listens on {taken}"):
                await made.ready()
            assert "Traceback" not in made.log.read_text()
            assert not made.socket.exists()
        finally:
            await end(made)


async def test_one_state_directory_one_daemon(tmp_path: Path) -> None:
    made = server(tmp_path)
    made.spawn()
    try:
        await made.ready()
        with pytest.raises(AssertionError, match="another podyard uses"):
            made.reset()
    finally:
        await end(made)


async def test_a_second_daemon_takes_nothing_from_the_first_ones_run_directory(tmp_path: Path) -> None:
    made, other = server(tmp_path / "one"), server(tmp_path / "two")
    other.config.write_text(other.config.read_text().replace(str(other.run), str(made.run)))
    made.spawn()
    try:
        await made.ready()
        async with await Client.connect(made.endpoint) as client:
            kit = Kit(client, tmp_path / "tests", "", made.name)
            sandbox_id = await kit.sandbox()
            other.spawn()
            with pytest.raises(AssertionError, match=f"another podyard uses {made.run}: .* another run directory"):
                await other.ready()
            assert is_pinned(made.run / "pins" / sandbox_id / "network")
            await kit.close()
    finally:
        if other.process is not None and other.process.poll() is None:
            other.terminate()
        other.network.remove()
        await end(made)
