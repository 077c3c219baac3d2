"""Measures sandboxes and containers when asked, and looks at all that runs from time to time in between.

Reading thousands of cgroups takes a while, so it is done in a thread; one thread, since the readings of one counter
must come in order. No call waits for a disk longer than ``disks.FIRST_LOOK``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from podyard.cri import api
from podyard.linux import netns
from podyard.stats import messages, metrics, parse, readings, sample
from podyard.stats.cgroup import open_cgroup
from podyard.stats.config import StatsConfig
from podyard.stats.disks import Disks
from podyard.stats.files import read
from podyard.stats.rates import Rates
from podyard.stats.readings import Reading
from podyard.stats.targets import ContainerTarget, SandboxTarget
from podyard.stats.usage import Disk, Interface

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_NET_DEV = "/proc/thread-self/net/dev"


class Collector:
    """Answers with messages of the CRI.

    ``census``: all sandboxes, for the looks in between. ``layers``: the directory of the writable layers.
    ``mountpoint``: the directory that stands for its file system in answers. ``ifname``: the interface of pods to the
    outside.
    """

    def __init__(
        self,
        config: StatsConfig,
        census: Callable[[], Sequence[SandboxTarget]],
        *,
        layers: Path,
        mountpoint: Path,
        ifname: str,
    ) -> None:
        self._interval = config.interval
        self._census = census
        self._layers = layers
        self._mountpoint = str(mountpoint)
        self._ifname = ifname
        self._disks = Disks(config.interval)
        self._rates = Rates()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stats")
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with the looks in between."""
        self._background = [asyncio.create_task(self._disks.run()), asyncio.create_task(self._look_around())]
        for task in self._background:
            task.add_done_callback(_report)

    async def close(self) -> None:
        """End them."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def container(self, target: ContainerTarget) -> api.ContainerStats:
        """A container; one that has ended has its writable layer alone."""
        [stats] = await self._containers([target])
        return stats

    async def containers(self, targets: Sequence[ContainerTarget]) -> list[api.ContainerStats]:
        """Those of the containers that have a process."""
        return [stats for stats in await self._containers(targets) if _lives(stats)]

    async def sandboxes(self, targets: Sequence[SandboxTarget]) -> list[api.PodSandboxStats]:
        """Sandboxes; one that is not ready has nothing but its attributes."""
        disks = await self._sizes(container for target in targets for container in target.containers)
        return await self._in_thread(self._read_sandboxes, targets, disks)

    async def metrics(self, targets: Sequence[SandboxTarget]) -> api.ListPodSandboxMetricsResponse:
        """The metrics of sandboxes that are ready. Raises OSError when the file system of the layers cannot be read."""
        disks = await self._sizes(container for target in targets for container in target.containers)
        return await self._in_thread(self._read_metrics, targets, disks)

    async def _containers(self, targets: Sequence[ContainerTarget]) -> list[api.ContainerStats]:
        disks = await self._sizes(targets)
        return await self._in_thread(self._read_containers, targets, disks)

    async def _sizes(self, targets: Iterable[ContainerTarget]) -> dict[str, Disk]:
        return await self._disks.look({target.id: target.writable for target in targets})

    async def _in_thread(
        self, action: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        call = functools.partial(action, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _look_around(self) -> None:
        """Read the CPU time of all that runs, so that who asks next gets a rate, and have the layers measured."""
        while True:
            targets = self._census()
            self._disks.keep({one.id: one.writable for target in targets for one in target.containers})
            paths = [path for target in targets for path in _cgroups(target)]
            await self._in_thread(self._read_rates, paths)
            await asyncio.sleep(self._interval)

    # --- in the thread

    def _read_rates(self, paths: Sequence[str]) -> None:
        for path in paths:
            usage = open_cgroup(path).cpu_usage()
            if usage is not None:
                self._rates.rate(path, usage, time.monotonic_ns())
        self._rates.forget_unseen()

    def _read_containers(
        self, targets: Sequence[ContainerTarget], disks: Mapping[str, Disk]
    ) -> list[api.ContainerStats]:
        return [self._message(target, self._read(target.cgroup), disks) for target in targets]

    def _read_sandboxes(self, targets: Sequence[SandboxTarget], disks: Mapping[str, Disk]) -> list[api.PodSandboxStats]:
        networks = _read_networks(targets)
        return [self._read_sandbox(target, networks.get(target.id, []), disks) for target in targets]

    def _read_sandbox(
        self, target: SandboxTarget, interfaces: Sequence[Interface], disks: Mapping[str, Disk]
    ) -> api.PodSandboxStats:
        if not target.ready:
            return messages.sandbox_stats(target, None, self._ifname)
        parts = [(container, self._read(container.cgroup)) for container in target.containers]
        whole = self._read(target.cgroup)
        of_whole = [target.cgroup]
        if whole is None:
            infra = self._read(target.infra_cgroup)
            whole = readings.together([one for one in (infra, *(found for _, found in parts)) if one is not None])
            of_whole = [target.infra_cgroup, *(container.cgroup for container in target.containers)]
        pids = {pid for path in of_whole if path for pid in open_cgroup(path).processes()}
        reading = messages.SandboxReading(
            whole=whole,
            interfaces=interfaces,
            processes=len(pids),
            containers=[self._message(container, found, disks) for container, found in parts if found is not None],
        )
        return messages.sandbox_stats(target, reading, self._ifname)

    def _read_metrics(
        self, targets: Sequence[SandboxTarget], disks: Mapping[str, Disk]
    ) -> api.ListPodSandboxMetricsResponse:
        networks = _read_networks(targets)
        file_system = sample.file_system(self._layers)
        response = api.ListPodSandboxMetricsResponse()
        for target in targets:
            if not target.ready:
                continue
            message = response.pod_metrics.add()
            metrics.add_sandbox(message, target, time.time_ns(), networks.get(target.id, []))
            for one in target.containers:
                taken = sample.take(
                    open_cgroup(one.cgroup),
                    pid=one.pid,
                    started_at=one.started_at,
                    disk=disks.get(one.id),
                    file_system=file_system,
                )
                if taken is not None:
                    metrics.add_container(message.container_metrics.add(), one, target.attributes.metadata, taken)
        return response

    def _read(self, path: str) -> Reading | None:
        """A cgroup; None where it is gone, or there never was one."""
        if not path:
            return None
        reading = readings.take(open_cgroup(path), path, self._rates)
        return reading if reading.is_there else None

    def _message(
        self, target: ContainerTarget, reading: Reading | None, disks: Mapping[str, Disk]
    ) -> api.ContainerStats:
        return messages.container_stats(target, reading, disks.get(target.id), self._mountpoint)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the looks at what runs have ended: %r", error)


def _lives(stats: api.ContainerStats) -> bool:
    return stats.HasField("cpu") or stats.HasField("memory")


def _cgroups(target: SandboxTarget) -> list[str]:
    found = [target.cgroup, target.infra_cgroup, *(container.cgroup for container in target.containers)]
    return [path for path in found if path]


def _read_networks(targets: Iterable[SandboxTarget]) -> dict[str, list[Interface]]:
    """The interfaces of each sandbox with a network of its own, without the loopback one."""
    pins = {target.id: target.network for target in targets if target.ready and target.network is not None}
    texts = netns.in_each(pins, lambda: read(_NET_DEV) or "")
    return {id_: [one for one in parse.interfaces(text) if one.name != "lo"] for id_, text in texts.items()}
