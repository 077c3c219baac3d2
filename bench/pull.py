"""How fast images are pulled and unpacked, and in how much memory: podyard and Debian's containerd, one registry.

usage: .venv/bin/python -m bench.pull [--rounds 5] [--megabytes 210] [--files 15000]     (as root, in the repository)

The two take turns with each image: it is pulled, then removed with all that it left. Both write to one new ext4 file
system with a journal, on a loop device whose file is in memory: an old disk would count what was deleted from it before
(ext4 without a journal passes over each inode that was freed in the last minute). Times are medians in seconds; what
counts is the ratio. Memory is the largest (proportional) resident set of the daemon, and of the daemon with the
processes that it has started, both seen during a few pulls before those that are timed: looking takes processor time,
the more the more processes there are.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.support import registry
from tests.support.servers import Containerd, Podyard, Server, running

from podyard.client import Client
from podyard.images.layout import LayoutWriter, WrittenLayer, file

LAYERS = 4
"""Layers of the large image."""
SMALL_LAYERS = 30
DISK_SIZE = 8 << 30
"""Bytes of the file system that both write to."""
WATCHED_ROUNDS = 3
"""Rounds before the timed ones, in which the memory is looked at."""
SAMPLE = 0.02
"""Seconds between two looks at the memory."""
CLEAN_LIMIT = 60.0
"""Seconds for a removed image's files to be gone."""


@dataclass
class Peak:
    """Bytes."""

    daemon: int = 0
    group: int = 0
    """The daemon and what it has started."""


@dataclass
class Results:
    """One runtime's times in seconds, by what was pulled."""

    name: str
    times: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, Peak] = field(default_factory=dict)


@dataclass(frozen=True)
class Pulled:
    """References."""

    large: str
    sibling: str
    """Shares all but the topmost layer with the large one."""
    layered: str


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="bench.pull", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=210, help="of the large image's files")
    parser.add_argument("--files", type=int, default=15_000, help="of the large image")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="where the loop device's file is put")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="podyard-bench-") as name,
        disk(Path(name, "disk"), options.memory) as folder,
        registry.serve(Path(name, "registry")) as address,
    ):
        images = push_images(address, Path(name, "layout"), options.megabytes << 20, options.files)
        servers: list[Server] = [
            Podyard(folder / "podyard"),
            Containerd(folder / "containerd", address, images.layered),
        ]
        with running(*servers):
            results = asyncio.run(measure(servers, images, options.rounds))
    show(results, options.rounds)


@contextmanager
def disk(point: Path, memory: Path) -> Iterator[Path]:
    """A new file system, mounted at ``point``."""
    point.mkdir()
    with tempfile.NamedTemporaryFile(dir=memory, prefix="podyard-bench-") as file:
        file.truncate(DISK_SIZE)
        subprocess.run(["mkfs.ext4", "-q", file.name], check=True)
        subprocess.run(["mount", "-o", "loop", file.name, point], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", "--lazy", point], check=True)


def push_images(address: str, folder: Path, size: int, files: int) -> Pulled:
    """Make the images and push them."""
    layout = LayoutWriter(folder)
    layers = [layout.add_archive(_archive(number, size // LAYERS, files // LAYERS)) for number in range(LAYERS)]
    last = layout.add_archive(_archive(LAYERS, size // 20, files // 20))

    def push(name: str, made: list[WrittenLayer]) -> str:
        registry.push(address, layout, layout.add_image(made), f"bench/{name}", "1")
        return f"{address}/bench/{name}:1"

    small = [layout.add_layer({f"d{number}": file(f"{number}\n" * 100)}) for number in range(SMALL_LAYERS)]
    return Pulled(push("large", layers), push("sibling", [*layers[:-1], last]), push("layered", small))


def _archive(number: int, size: int, files: int) -> bytes:
    """A layer of files of many sizes: half of each is text, half does not compress."""
    source = random.Random(number)
    noise = source.randbytes(4 << 20)
    text = b"".join(b"%d: the quick brown fox jumps over the lazy dog\n" % line for line in range(80_000))
    weights = [source.expovariate(1) for _ in range(files)]
    scale = size / sum(weights)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for index, weight in enumerate(weights):
            if index % 40 == 0:
                folder = tarfile.TarInfo(f"usr/share/l{number}/d{index // 40}")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
            half = int(weight * scale / 2)
            at, line = source.randrange(len(noise) - half), source.randrange(len(text) - half)
            info = tarfile.TarInfo(f"usr/share/l{number}/d{index // 40}/f{index}")
            info.size, info.mode, info.mtime = 2 * half, 0o644, 1_600_000_000
            archive.addfile(info, io.BytesIO(noise[at : at + half] + text[line : line + half]))
    return buffer.getvalue()


async def measure(servers: list[Server], images: Pulled, rounds: int) -> list[Results]:
    """The times and peaks of each server."""
    clients = [await Client.connect(server.endpoint) for server in servers]
    results = [Results(server.name) for server in servers]
    try:
        for number in range(-WATCHED_ROUNDS, rounds):
            pull = _timed if number >= 0 else _watched
            for client, server, kept in zip(clients, servers, results, strict=True):
                await pull(client, server, kept, "30 small layers", images.layered)
                await _remove(client, server, images.layered)
                await pull(client, server, kept, "large image", images.large)
                await pull(client, server, kept, "all but one layer shared", images.sibling)
                await _remove(client, server, images.large, images.sibling)
        return results
    finally:
        for client in clients:
            await client.close()


async def _timed(client: Client, server: Server, results: Results, what: str, image: str) -> None:
    began = time.monotonic()
    await client.images.pull_image(image)
    results.times.setdefault(what, []).append(time.monotonic() - began)


async def _watched(client: Client, server: Server, results: Results, what: str, image: str) -> None:
    watching = asyncio.create_task(_watch(server, results.peaks.setdefault(what, Peak())))
    await client.images.pull_image(image)
    watching.cancel()
    await asyncio.wait([watching])


async def _watch(server: Server, peak: Peak) -> None:
    assert server.process is not None
    while True:
        sizes = await asyncio.to_thread(_sizes, server.process.pid)
        peak.daemon, peak.group = max(peak.daemon, sizes[0]), max(peak.group, sum(sizes))
        await asyncio.sleep(SAMPLE)


def _sizes(pid: int) -> list[int]:
    """The memory of the daemon, then that of each process below it."""
    return [_resident(one) for one in _family(pid, _read(Path(f"/proc/{pid}/cmdline")))]


def _family(pid: int, daemon: str) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(task).split():
            # Between vfork and exec a child has its parent's memory, which would count twice.
            if _read(Path(f"/proc/{child}/cmdline")) != daemon:
                yield from _family(int(child), daemon)


def _resident(pid: int) -> int:
    """Resident bytes; pages that several processes share count in part (proportional set size)."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def _remove(client: Client, server: Server, *images: str) -> None:
    for image in images:
        await client.images.remove_image(image)
    # containerd removes what is left in its own time; a pull before that would find layers there.
    deadline = time.monotonic() + CLEAN_LIMIT
    while any(_left(server)):
        assert time.monotonic() < deadline, f"{server.name} does not remove its layers"
        await asyncio.sleep(0.1)
    os.sync()


def _left(server: Server) -> Iterator[Path]:
    root = server.folder / "root"
    if isinstance(server, Podyard):
        yield from (path for path in (root / "images/l").iterdir() if path.name != "0")
    else:
        yield from (root / "io.containerd.content.v1.content/blobs/sha256").glob("*")
        yield from (root / "io.containerd.snapshotter.v1.overlayfs/snapshots").glob("*")


def show(results: list[Results], rounds: int) -> None:
    """Print times, ratios and memory."""
    ours, theirs = results
    print(f"median of {rounds} pulls, s{'':17}{ours.name:>12}{theirs.name:>12}{'ratio':>8}")
    for what in ours.times:
        _line(what, median(ours.times[what]), median(theirs.times[what]), "12.3f")
    for name, part in (("daemon", _daemon), ("daemon and its processes", _group)):
        print(f"\nlargest memory, {name}, MB")
        for what in ours.peaks:
            _line(what, part(ours.peaks[what]) / 1e6, part(theirs.peaks[what]) / 1e6, "12.1f")


def _daemon(peak: Peak) -> int:
    return peak.daemon


def _group(peak: Peak) -> int:
    return peak.group


def _line(name: str, ours: float, theirs: float, form: str) -> None:
    print(f"{name:40}{ours:{form}}{theirs:{form}}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
