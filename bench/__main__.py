"""How fast pods come and go, and what they cost: podyard and Debian's containerd in one run, and the floor below both.

usage: .venv/bin/python -m bench [--rounds 20] [--pods 10]          (as root, from the repository's folder)

The two take turns, so that a busy moment of the machine hits both. Times are medians in milliseconds; what counts is
the ratio. The floor is what no runtime on these tools can go below: CNI plugins and OCI runtime, called directly.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.support import registry
from tests.support.images import push_images
from tests.support.servers import Containerd, Podyard, Server, running

from bench import floor, memory, report
from bench.calls import Calls, measure_round
from podyard.client import Client


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how often each call is timed")
    parser.add_argument("--pods", type=int, default=10, help="idle pods for the memory figures and the lists")
    options = parser.parse_args()
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
            calls, costs = asyncio.run(measure(servers, images.busybox, options.rounds, options.pods))
            lowest = floor.measure(folder / "floor", options.rounds)
    report.show(calls, costs, lowest, options.rounds, options.pods)


async def measure(servers: list[Server], image: str, rounds: int, pods: int) -> tuple[list[Calls], list[memory.Cost]]:
    """The times of all calls and the memory of idle pods, for each server."""
    clients = [await Client.connect(server.endpoint) for server in servers]
    try:
        calls = [Calls(server.name) for server in servers]
        for client in clients:
            await client.images.pull_image(image)
        for number in range(-2, rounds):  # the first two warm up and are not kept
            for client, server, kept in zip(clients, servers, calls, strict=True):
                target = kept if number >= 0 else Calls("warm-up")
                await measure_round(client, image, server.folder / "logs", target)
        costs = []
        for client, server, kept in zip(clients, servers, calls, strict=True):
            costs.append(await memory.measure(client, server, image, pods, kept))
        return calls, costs
    finally:
        for client in clients:
            await client.close()


if __name__ == "__main__":
    main()
