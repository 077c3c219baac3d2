"""What cases say of runtimes that do not do what they ask for, and of slow ones that do. The runtimes are stand-ins."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from podyard.cri import api
from podyard.validate import CASES
from podyard.validate.expect import Unmet
from podyard.validate.kit import Kit


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
