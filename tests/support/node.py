"""podyard node, on one runtime, as its users run it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.patience import PATIENCE
from tests.support.servers import Server

from podyard.client import Client

WAIT_LIMIT = 30 * PATIENCE


class Node:
    """podyard node as a process on one endpoint."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        self.log = folder / "node.log"
        self._server = server
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, text: str) -> None:
        """Rename a manifest into place."""
        temporary = self.manifests / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.manifests / f"{name}.yaml")

    def remove(self, name: str) -> None:
        """Take a manifest away."""
        (self.manifests / f"{name}.yaml").unlink()

    def start(self, *more: str) -> None:
        argv = [sys.executable, "-m", "podyard", "node", "--pod-manifest-path", str(self.manifests)]
        argv += ["--container-runtime-endpoint", self._server.endpoint, "--log-level", "debug"]
        # How full the tests' machine is must not matter.
        argv += ["--eviction-hard", "", "--image-gc-high-threshold", "100", *more]
        environment = {
            **os.environ,
            "PODYARD_POD_ROOT": str(self._folder / "pods"),
            "PODYARD_LOG_ROOT": str(self._folder / "logs"),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment, cwd="/")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=20 * PATIENCE)

    async def get(self, path: str) -> tuple[int, str]:
        """What the node's API answers."""
        connector = aiohttp.UnixConnector(str(self._folder / "node.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://node{path}") as response,
        ):
            return response.status, await response.text()

    async def pods(self) -> dict[str, dict[str, Any]]:
        """The Pods by name."""
        status, text = await self.get("/pods")
        assert status == 200, text
        return {pod["metadata"]["name"]: pod for pod in json.loads(text)["items"]}

    async def until(self, what: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        """Wait until the Pods are as wanted."""
        deadline = time.monotonic() + WAIT_LIMIT
        pods: dict[str, dict[str, Any]] = {}
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-5000:]
            try:
                pods = await self.pods()
            except aiohttp.ClientConnectorError:
                pods = {}  # it has just been started
            if pods and what(pods):
                return pods
            await asyncio.sleep(0.2)
        raise AssertionError(f"{json.dumps(pods, indent=1)[-6000:]}\n{self.log.read_text()[-6000:]}")

    async def close(self, client: Client) -> None:
        """Take all manifests away, wait until no sandbox is left, and end."""
        for path in self.manifests.iterdir():
            path.unlink()
        # On a loaded machine containerd has taken half a minute to kill one container in which a probe ran.
        deadline = time.monotonic() + 4 * WAIT_LIMIT
        while await client.runtime.list_pod_sandbox() and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        assert self.terminate() == 0
        assert not await client.runtime.list_pod_sandbox(), self.log.read_text()[-6000:]


def conditions(pod: dict[str, Any]) -> dict[str, str]:
    """The conditions of a Pod: their states by their types."""
    return {one["type"]: one["status"] for one in pod["status"]["conditions"]}


def container(pod: dict[str, Any], name: str = "main") -> dict[str, Any]:
    """The status of one of a Pod's containers."""
    (found,) = [one for one in pod["status"]["containerStatuses"] if one["name"] == name]
    return dict(found)


def reason(pod: dict[str, Any], name: str = "main") -> str:
    """The one word that kubectl shows of a container."""
    return word(container(pod, name))


def word(status: dict[str, Any]) -> str:
    """The one word that kubectl shows of a container's status."""
    ((state, more),) = status["state"].items()
    return str(more.get("reason", "")) if state != "running" else "Running"
