"""What idle pods cost: the memory of the daemon and of the processes that a runtime keeps beside each container."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import Server

from bench.calls import Calls, start_pod
from podyard.client import Client

KEEPERS = ("conmon", "catatonit", "containerd-shim", "pause")
"""Processes that stand beside containers, by the begin of their names."""

LIST_REPEATS = 50


@dataclass(frozen=True)
class Cost:
    """Bytes, as proportional set size (shared pages are divided among their users)."""

    name: str
    daemon: int
    per_pod: float


async def measure(client: Client, server: Server, image: str, pods: int, calls: Calls) -> Cost:
    """Start ``pods`` pods, time the lists while they are there, and weigh them."""
    before = _keepers(server)
    ids = [await start_pod(client, image, server.folder / "logs", Calls("idle")) for _ in range(pods)]
    for _ in range(LIST_REPEATS):
        await calls.timed("ListPodSandbox", client.runtime.list_pod_sandbox())
        await calls.timed("ListContainers", client.runtime.list_containers())
        await calls.timed("ContainerStatus", client.runtime.container_status(ids[0][1]))
    assert server.process is not None
    cost = Cost(server.name, _pss(Path(f"/proc/{server.process.pid}")), (_keepers(server) - before) / pods)
    for sandbox_id, _ in ids:
        await client.runtime.stop_pod_sandbox(sandbox_id)
        await client.runtime.remove_pod_sandbox(sandbox_id)
    return cost


def _keepers(server: Server) -> int:
    """The memory of all keepers of one server's containers: their command lines or their parents' name its folder."""
    return sum(_pss(folder) for folder in _processes() if _is_keeper(folder, server))


def _is_keeper(folder: Path, server: Server) -> bool:
    if not _text(folder / "comm").startswith(KEEPERS):
        return False
    parent = next((line.split()[1] for line in _text(folder / "status").splitlines() if line.startswith("PPid:")), "0")
    lines = _text(folder / "cmdline") + _text(Path("/proc", parent, "cmdline"))
    return str(server.folder) in lines


def _processes() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())


def _pss(folder: Path) -> int:
    for line in _text(folder / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
