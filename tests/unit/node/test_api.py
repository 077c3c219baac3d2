"""The node's API on its socket."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podyard.errors import AlreadyExists
from podyard.node.api import served

Until = Callable[[Callable[[], object]], Awaitable[None]]


async def get(path: Path, url: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get(f"http://node{url}") as response,
    ):
        return response.status, await response.text()


async def test_pods_are_told_as_kubernetes_writes_them(
    runtime: Any, agents: Any, directory: Any, until: Until, tmp_path: Path
) -> None:
    directory.write(
        "web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
        "  - {name: main, image: 'busybox:1', resources: {limits: {cpu: 500m, memory: 64Mi}}, command: [a, b]}\n",
    )
    agent = agents.start()
    await until(lambda: "StartContainer main" in runtime.calls)
    await until(lambda: agent.trouble == "")
    socket = tmp_path / "run" / "node.sock"
    async with served(agent, socket):
        assert socket.stat().st_mode & 0o777 == 0o600
        assert await get(socket, "/healthz") == (200, "ok")
        assert await get(socket, "/readyz") == (200, "ok")
        assert (await get(socket, "/nothing"))[0] == 404
        status, text = await get(socket, "/pods")
    assert not socket.exists()
    assert status == 200
    listed = json.loads(text)
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "PodList")
    (pod,) = listed["items"]
    assert (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) == ("v1", "Pod", "web")
    assert pod["metadata"]["uid"] == next(iter(runtime.sandboxes.values())).metadata.uid
    assert pod["spec"] == {
        "containers": [
            {
                "name": "main",
                "image": "busybox:1",
                "command": ["a", "b"],
                "resources": {"limits": {"cpu": "500m", "memory": "67108864"}},
            }
        ]
    }
    assert pod["status"]["phase"] == "Running"


async def test_a_runtime_that_is_away_makes_the_node_unready(
    daemon: Any, agents: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podyard.node.watch.HEALTH_POLL", 0.05)
    agent = agents.start()
    await until(lambda: agent.trouble == "")
    socket = tmp_path / "node.sock"
    async with served(agent, socket):
        await daemon.stop()
        await until(lambda: agent.trouble)
        assert (await get(socket, "/readyz"))[0] == 503
        assert (await get(socket, "/pods"))[0] == 503
        assert await get(socket, "/healthz") == (200, "ok")


async def test_a_socket_that_is_served_is_not_taken_and_a_stale_one_is(agents: Any, tmp_path: Path) -> None:
    agent = agents.start()
    socket = tmp_path / "node.sock"
    async with served(agent, socket):
        with pytest.raises(AlreadyExists, match="another podyard node"):
            async with served(agent, socket):
                pass
        assert await get(socket, "/healthz") == (200, "ok")
        socket.rename(tmp_path / "left.sock")
    # The path of a server that has gone: nobody answers there.
    async with served(agent, tmp_path / "left.sock"):
        assert await get(tmp_path / "left.sock", "/healthz") == (200, "ok")
