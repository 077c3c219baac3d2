"""Lists as streams: the same items as in one piece, in messages that every client takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.cri import api
from podyard.cri.parts import PART_SIZE
from podyard.model.records import Container, Sandbox
from podyard.runtime.service import RuntimeService
from podyard.runtime.store import Store
from podyard.state.database import Database
from podyard.state.records import Records

COUNT = 2000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RuntimeService]:
    """One sandbox, and containers with annotations that make their list longer than 16 MiB."""
    database = Database(tmp_path / "state.db")
    store = Store(Records(database))
    metadata = api.PodSandboxMetadata(name="pod", uid="u")
    config = api.PodSandboxConfig(metadata=metadata, labels={"app": "web"}).SerializeToString()
    store.save_sandbox(Sandbox(id="s", config=config, handler="", runtime="crun", created_at=1, boot_id="b"))
    with database.transaction():
        for number in range(COUNT):
            container = api.ContainerConfig(
                metadata=api.ContainerMetadata(name=f"c{number}"),
                labels={"odd": str(number % 2)},
                annotations={"long": "x" * 10_000},
            )
            store.save_container(
                Container(
                    id=f"{number:064d}",
                    sandbox_id="s",
                    config=container.SerializeToString(),
                    runtime="crun",
                    image_id="i",
                    image_ref="r",
                    created_at=number,
                    boot_id="b",
                    stop_signal="SIGTERM",
                    state="exited",
                )
            )
    context: Any = SimpleNamespace(store=store)
    yield RuntimeService(context)
    database.close()


@pytest.mark.parametrize("fields", [{}, {"label_selector": {"odd": "1"}}, {"id": "0" * 61 + "12"}, {"id": "f"}])
async def test_containers_come_as_in_the_list(service: RuntimeService, fields: dict[str, Any]) -> None:
    wanted = api.ContainerFilter(**fields)
    answers = [answer async for answer in service.StreamContainers(api.StreamContainersRequest(filter=wanted))]
    whole = await service.ListContainers(api.ListContainersRequest(filter=wanted))
    assert [container for answer in answers for container in answer.containers] == list(whole.containers)
    assert all(0 < answer.ByteSize() < PART_SIZE + 100_000 for answer in answers)


async def test_sandboxes_come_as_in_the_list(service: RuntimeService) -> None:
    for label, found in (("web", 1), ("db", 0)):
        wanted = api.PodSandboxFilter(label_selector={"app": label})
        answers = [answer async for answer in service.StreamPodSandboxes(api.StreamPodSandboxesRequest(filter=wanted))]
        assert sum(len(answer.pod_sandboxes) for answer in answers) == found
