"""A node on which thousands of containers have ended and nobody has removed them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.images import Images
from tests.support.pods import Kit
from tests.support.servers import Podyard

from podyard.client import Client
from podyard.cri import api
from podyard.errors import ResourceExhausted
from podyard.model.records import Container
from podyard.state.database import Database
from podyard.state.records import Records

COUNT = 5000
ANNOTATION = "x" * 4000
"""With it 5,000 containers make a list that is longer than the 16 MiB that a client takes."""


@pytest.fixture
async def kit(images: Images, tmp_path: Path) -> AsyncIterator[Kit]:
    """One pod with an ended and a running container, and COUNT records of what is long gone."""
    server = Podyard(tmp_path / "own")
    server.folder.mkdir()
    server.configure()
    try:
        async with await started(server) as client:
            await client.images.pull_image(images.busybox)
            kit = Kit(client, server.folder / "tests", images.busybox, server.name)
            sandbox_id = await kit.sandbox()
            await kit.ended(await kit.start(sandbox_id, ["true"], name="ended"))
            await kit.start(sandbox_id, ["sleep", "1000"], name="running")
        server.terminate()
        bury(server, COUNT)
        async with await started(server) as client:
            kit.client = client
            yield kit
    finally:
        if server.process is not None and server.process.poll() is None:
            server.terminate()
        bury(server, 0)  # what is left is removed one by one
        server.spawn()
        await server.ready()
        server.terminate()
        server.reset()
        server.network.remove()


async def started(server: Podyard) -> Client:
    server.spawn()
    await server.ready()
    return await Client.connect(server.endpoint)


def bury(server: Podyard, count: int) -> None:
    """Let the database of a podyard that does not run have so many copies of its ended container, and no more."""
    database = Database(server.root / "state.db")
    records = Records(database)
    try:
        with database.transaction():
            found = {record.id: record for record in records.containers()}
            for name in [name for name in found if name.startswith("dead")]:
                records.delete_container(name)
            for number in range(count):
                records.save_container(dead(next(one for one in found.values() if one.state == "exited"), number))
    finally:
        database.close()


def dead(ended: Container, number: int) -> Container:
    config = api.ContainerConfig.FromString(ended.config)
    config.metadata.attempt = number + 1
    config.labels["dead"] = "yes"
    config.annotations["long"] = ANNOTATION
    return replace(ended, id=f"dead{number:060d}", config=config.SerializeToString(deterministic=True))


async def test_thousands_of_dead_containers(kit: Kit) -> None:
    runtime = kit.client.runtime
    [sandbox] = await runtime.list_pod_sandbox()
    running = await runtime.list_containers(
        api.ContainerFilter(state=api.ContainerStateValue(state=api.CONTAINER_RUNNING))
    )
    assert [one.metadata.name for one in running] == ["running"]
    with pytest.raises(ResourceExhausted, match="StreamContainers"):
        await runtime.list_containers()
    parts = [part async for part in runtime.stream("StreamContainers", api.StreamContainersRequest())]
    assert len(parts) > 16
    assert sum(len(part.containers) for part in parts) == COUNT + 2
    few = await runtime.list_containers(api.ContainerFilter(id="dead" + "0" * 58))
    assert len(few) == 100
    status = await runtime.pod_sandbox_status(sandbox.id)
    assert (status.status.state, status.timestamp, len(status.containers_statuses)) == (api.SANDBOX_READY, 0, 0)
    assert (await kit.status(few[0].id)).reason == "Completed"
    await runtime.remove_container(few[0].id)
    assert len(await runtime.list_containers(api.ContainerFilter(id="dead" + "0" * 58))) == 99
    assert await kit.exec(running[0].id, "echo", "alive") == "alive\n"
