"""How fast bytes go through exec and port-forward, and in how much memory: podyard and Debian's containerd.

usage: .venv/bin/python -m bench.streams [--rounds 3] [--exec 2000] [--forward 1000]     (as root, in the repository)

Bytes go to a process in a container and come back: through the standard input and output of "cat", and through a
connection to a port behind which "cat" stands. One client, podyard's over SPDY (containerd 1.6 has nothing else), talks
to both, and they take turns. Rates are medians in MB/s of what was sent and came back; what counts is the ratio. Memory
is the daemon's resident set, before and at its largest.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median

from tests.support import registry
from tests.support.images import push_images
from tests.support.servers import Containerd, Podyard, Server, running

from bench.calls import container_config, pod_config
from podyard.client import Client

PIECE = 1 << 20
"""Bytes that are given to the client at once."""
PORT = 7000
LIMIT = 600.0
"""Seconds for one transfer."""

_NOISE = os.urandom(PIECE)


@dataclass
class Results:
    """One runtime's rates in bytes a second, and what its memory was (before, at its largest), by what was done."""

    name: str
    rates: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A runtime with a pod that gives back what it gets."""

    client: Client
    server: Server
    sandbox_id: str
    container_id: str


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="bench.streams", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exec", type=int, default=2000, help="MB through exec", dest="through_exec")
    parser.add_argument("--forward", type=int, default=1000, help="MB through port-forward")
    options = parser.parse_args()
    sizes = {"exec": options.through_exec * 10**6, "port-forward": options.forward * 10**6}
    with (
        tempfile.TemporaryDirectory(prefix="podyard-bench-") as name,
        registry.serve(Path(name, "registry")) as address,
    ):
        folder = Path(name)
        images = push_images(address, folder / "layout")
        servers: list[Server] = [
            Podyard(folder / "podyard"),
            Containerd(folder / "containerd", images.registry, images.pause),
        ]
        with running(*servers):
            results = asyncio.run(measure(servers, images.busybox, sizes, options.rounds))
    show(results, sizes, options.rounds)


async def measure(servers: list[Server], image: str, sizes: dict[str, int], rounds: int) -> list[Results]:
    """Rates and memory of each server. Raises AssertionError when something does not come back as it was sent."""
    results = [Results(server.name) for server in servers]
    targets = [await prepare(server, image) for server in servers]
    try:
        for _ in range(rounds):
            for what, size in sizes.items():
                for target, kept in zip(targets, results, strict=True):
                    await _transfer(target, kept, what, size)
        return results
    finally:
        for target in targets:
            await target.client.close()


async def prepare(server: Server, image: str) -> Target:
    """Start a pod."""
    client = await Client.connect(server.endpoint)
    await client.images.pull_image(image)
    config, container = pod_config(server.folder / "logs"), container_config(image)
    del container.command[:]
    container.command.extend(["nc", "-ll", "-p", str(PORT), "-e", "cat"])
    sandbox_id = await client.runtime.run_pod_sandbox(config)
    container_id = await client.runtime.create_container(sandbox_id, container, config)
    await client.runtime.start_container(container_id)
    return Target(client, server, sandbox_id, container_id)


async def _transfer(target: Target, results: Results, what: str, size: int) -> None:
    expected = _digest(size)
    pid = target.server.process.pid if target.server.process else 0
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the largest resident set begins anew (proc(5))
    before = _memory(pid, "VmRSS")
    began = time.monotonic()
    async with asyncio.timeout(LIMIT):
        if what == "exec":
            found = await _through_exec(target, size)
        else:
            found = await _through_forward(target, size)
    results.rates.setdefault(what, []).append(size / (time.monotonic() - began))
    results.memory.setdefault(what, []).append((before, _memory(pid, "VmHWM")))
    assert found == expected, f"{results.name}: what came back through {what} is not what was sent"


async def _through_exec(target: Target, size: int) -> str:
    async with target.client.runtime.exec(target.container_id, ["cat"], stdin=True, transport="spdy") as session:
        feeding = asyncio.create_task(_feed(session.stdin.write, size))
        digest = await _collect(session.stdout.read, size)
        await feeding
        await session.stdin.close()
        assert await session.stdout.read() == b""
        assert await session.wait() == 0
        return digest


async def _through_forward(target: Target, size: int) -> str:
    async with (
        target.client.runtime.port_forward(target.sandbox_id, transport="spdy") as forward,
        await forward.connect(PORT) as connection,
    ):
        feeding = asyncio.create_task(_feed(connection.write, size))
        digest = await _collect(connection.read, size)
        await feeding
        return digest


async def _feed(write: Callable[[bytes], Awaitable[None]], size: int) -> None:
    for number in range(-(-size // PIECE)):
        await write(_piece(number)[: size - number * PIECE])


async def _collect(read: Callable[[], Awaitable[bytes]], size: int) -> str:
    digest, count = hashlib.sha256(), 0
    while count < size:
        data = await read()
        assert data, f"it ended after {count} bytes"
        count += len(data)
        digest.update(data)
    return digest.hexdigest()


@cache
def _digest(size: int) -> str:
    digest = hashlib.sha256()
    for number in range(-(-size // PIECE)):
        digest.update(_piece(number)[: size - number * PIECE])
    return digest.hexdigest()


def _piece(number: int) -> bytes:
    """No two are alike."""
    return number.to_bytes(8) + _NOISE[8:]


def _memory(pid: int, name: str) -> int:
    """A figure of proc(5)'s status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def show(results: list[Results], sizes: dict[str, int], rounds: int) -> None:
    """Print rates, ratios and memory."""
    ours, theirs = results
    print(f"median of {rounds} transfers, MB/s{'':10}{ours.name:>12}{theirs.name:>12}{'ratio':>8}")
    for what, size in sizes.items():
        rates = [median(each.rates[what]) / 1e6 for each in results]
        name = f"{size // 10**6} MB through {what}, whole"
        print(f"{name:36}{rates[0]:12.1f}{rates[1]:12.1f}{rates[0] / rates[1]:8.2f}")
    for each in results:
        print(f"\nmemory of {each.name}, MB{'':16}{'before':>12}{'largest':>12}{'more':>8}")
        for what in sizes:
            before, largest = max(each.memory[what], key=lambda pair: pair[1] - pair[0])
            print(f"{what:36}{before / 1e6:12.1f}{largest / 1e6:12.1f}{(largest - before) / 1e6:8.1f}")


if __name__ == "__main__":
    main()
