"""The agent against a real gRPC server on a real socket, whose runtime keeps its Pods in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pods.conftest import Daemon, MemoryRuntime

from podyard.client import Client
from podyard.node.agent import Agent
from podyard.node.source import ManifestDirectory
from podyard.node.watch import RuntimeWatch
from podyard.pods import PodEngine
from podyard.pods.restarts import BackOffPolicy

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
  - {{name: main, image: 'busybox:1', workingDir: /{mark}}}
"""


class Directory:
    """A directory of manifests whose files are old enough to be read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._age = 1000

    def write(self, file: str, text: str) -> None:
        """Rename a file into place."""
        temporary = self.path / f".{file}"
        temporary.write_text(text)
        self._age -= 1
        then = temporary.stat().st_mtime - self._age
        os.utime(temporary, (then, then))
        temporary.rename(self.path / file)

    def pod(self, name: str, mark: str = "a", file: str = "") -> None:
        """A manifest of one Pod; another ``mark`` makes it another one."""
        self.write(file or f"{name}.yaml", POD.format(name=name, mark=mark))


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """The manifests."""
    return Directory(tmp_path / "manifests")


@pytest.fixture
def runtime() -> MemoryRuntime:
    """What the agent's calls reach."""
    return MemoryRuntime()


@pytest.fixture
async def daemon(runtime: MemoryRuntime, tmp_path: Path) -> AsyncIterator[Daemon]:
    """Serves the runtime at cri.sock."""
    daemon = Daemon(runtime, tmp_path / "cri.sock")
    await daemon.start()
    yield daemon
    await daemon.stop()


@pytest.fixture
async def client(daemon: Daemon, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of it."""
    async with await Client.connect(f"unix://{tmp_path}/cri.sock") as client:
        yield client


class Agents:
    """Starts agents on one runtime and one directory, one after the other."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._running: asyncio.Task[None] | None = None

    def start(self) -> Agent:
        """An agent whose waits are a hundredth of the real ones."""
        back_off = BackOffPolicy(first=0.05, longest=0.3, reset=0.6)
        root, logs = self._folder / "pods", self._folder / "logs"
        engine = PodEngine(self._client, root, log_root=logs, back_off=back_off, poll=0.01)
        source = ManifestDirectory(self._folder / "manifests")
        agent = Agent(engine, [source], RuntimeWatch(self._client), back_off=back_off, poll=0.01, sweep=0.02)
        self._running = asyncio.create_task(agent.run())
        return agent

    async def kill(self) -> None:
        """End the agent in the middle of whatever it does."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                await self._running


@pytest.fixture
async def agents(client: Client, tmp_path: Path, directory: Directory) -> AsyncIterator[Agents]:
    """Agents of this directory."""
    agents = Agents(client, tmp_path)
    yield agents
    await agents.kill()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Any]:
    """``await until(what)``: wait until it is true."""

    async def wait(what: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not what():
                await asyncio.sleep(0.01)

    return wait
