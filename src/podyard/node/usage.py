"""What the machine and its Pods use now: read from the kernel and from the runtime."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podyard.client import Client
from podyard.cri import api
from podyard.errors import PodyardError, translate
from podyard.manifest.translate import labels
from podyard.node.filesystem import FileSystem, file_system

logger = logging.getLogger(__name__)

SHORTEST = 1.0
"""Seconds between two readings that a rate is made from; one that is asked for sooner tells the last rate again."""


@dataclass(frozen=True, kw_only=True)
class MachineReading:
    """Times: seconds since 1970. Amounts: bytes, nanoseconds of processor time."""

    time: float
    started: float
    cpu: int
    """On all processors, since the machine started."""
    memory_total: int
    memory_used: int
    """Caches included."""
    working_set: int
    """What cannot be reclaimed easily: without the pages of files that were not used lately."""
    swap_used: int


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What has gone through one of the machine's network interfaces."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int
    default: bool = False
    """Whether the machine's default route goes through it."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """All that the statistics are made of."""

    machine: MachineReading
    cpu_rate: int | None
    """Nanoseconds of processor time in a second, lately; None until two readings were made."""
    node_fs: FileSystem
    image_fs: FileSystem | None
    image_bytes: int
    """What images take."""
    pods: Sequence[api.PodSandboxStats]
    interfaces: Sequence[Interface] = ()
    failure: str = ""
    """Why nothing is known of the Pods; "" when it is."""


class UsageReader:
    """Reads usage; keeps what rates are made from. ``pod_root`` is on the file system that Pods' volumes are on."""

    def __init__(self, client: Client, pod_root: Path) -> None:
        self._client = client
        self._pod_root = pod_root
        self._last: MachineReading | None = None
        self._rate: int | None = None
        self._one = asyncio.Lock()

    async def read(self) -> Usage:
        """Usage now. One reading at a time; a runtime that is away is told as a failure. Raises Internal for a machine
        that cannot be read."""
        async with self._one:
            pods, images, failure = await self._runtime()
            try:
                machine, node_fs, image_fs = await asyncio.to_thread(self._local, root_of(images))
                interfaces = await asyncio.to_thread(read_interfaces)
            except (OSError, ValueError, KeyError) as error:
                raise translate(error, "reading what the machine uses") from error
        return Usage(
            machine=machine,
            cpu_rate=self._rated(machine),
            node_fs=node_fs,
            image_fs=image_fs,
            image_bytes=images.used_bytes.value if images is not None else 0,
            pods=pods,
            interfaces=interfaces,
            failure=failure,
        )

    async def _runtime(self) -> tuple[Sequence[api.PodSandboxStats], api.FilesystemUsage | None, str]:
        try:
            return await pod_stats(self._client), await image_disk(self._client), ""
        except PodyardError as error:
            return [], None, str(error)

    def _local(self, image_root: Path | None) -> tuple[MachineReading, FileSystem, FileSystem | None]:
        images = file_system(image_root) if image_root is not None and image_root.exists() else None
        return read_machine_usage(), file_system(self._pod_root), images

    def _rated(self, now: MachineReading) -> int | None:
        last = self._last
        if last is None or now.time < last.time:
            self._last = now
        elif now.time - last.time >= SHORTEST:
            self._rate = max(0, round((now.cpu - last.cpu) / (now.time - last.time)))
            self._last = now
        return self._rate


async def pod_stats(client: Client) -> Sequence[api.PodSandboxStats]:
    """What each Pod uses, as the runtime tells it. Raises what it answers."""
    try:
        return await client.runtime.list_pod_sandbox_stats()
    except PodyardError as error:
        # Some have no such call; containerd 1.6 fails as a whole for one sandbox without a cgroup of its own.
        logger.debug("Pods' statistics are made of their containers': %s", error)
        return by_pod(await client.runtime.list_container_stats())


async def image_disk(client: Client) -> api.FilesystemUsage | None:
    """What images take, and where; None where the runtime does not say. Raises what it answers."""
    disks = (await client.images.image_fs_info()).image_filesystems
    return disks[0] if disks else None


def root_of(disk: api.FilesystemUsage | None) -> Path | None:
    """A directory on the images' file system."""
    return Path(disk.fs_id.mountpoint) if disk is not None and disk.fs_id.mountpoint else None


def by_pod(containers: Sequence[api.ContainerStats]) -> list[api.PodSandboxStats]:
    """Containers put together to Pods, of a runtime that does not do so itself: by what their labels say. A Pod is
    told to use what they use together."""
    found: defaultdict[tuple[str, str, str], list[api.ContainerStats]] = defaultdict(list)
    for one in containers:
        known = one.attributes.labels
        name = known.get(labels.POD_NAME, "")
        if name:
            found[known.get(labels.POD_NAMESPACE, ""), name, known.get(labels.POD_UID, "")].append(one)
    return [
        api.PodSandboxStats(
            attributes=api.PodSandboxAttributes(
                metadata=api.PodSandboxMetadata(namespace=namespace, name=name, uid=uid)
            ),
            linux=_together(mine),
        )
        for (namespace, name, uid), mine in found.items()
    ]


def _together(containers: Sequence[api.ContainerStats]) -> api.LinuxPodSandboxStats:
    found = api.LinuxPodSandboxStats(containers=containers)
    for one in containers:
        if one.HasField("cpu"):
            found.cpu.timestamp = max(found.cpu.timestamp, one.cpu.timestamp)
            found.cpu.usage_core_nano_seconds.value += one.cpu.usage_core_nano_seconds.value
        if one.HasField("memory"):
            found.memory.timestamp = max(found.memory.timestamp, one.memory.timestamp)
            found.memory.working_set_bytes.value += one.memory.working_set_bytes.value
    return found


def read_machine_usage(proc: Path = Path("/proc")) -> MachineReading:
    """The machine's usage now (proc_stat(5), proc_meminfo(5)). Raises OSError, ValueError or KeyError."""
    stat = dict(line.split(" ", 1) for line in (proc / "stat").read_text().splitlines() if " " in line)
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in stat["cpu"].split()[:8])
    ticks = user + nice + system + irq + softirq + steal
    memory = {line.split(":")[0]: int(line.split()[1]) << 10 for line in (proc / "meminfo").read_text().splitlines()}
    used = memory["MemTotal"] - memory["MemFree"]
    return MachineReading(
        time=time.time(),
        started=float(stat["btime"]),
        cpu=ticks * 10**9 // os.sysconf("SC_CLK_TCK"),
        memory_total=memory["MemTotal"],
        memory_used=used,
        working_set=max(0, used - memory["Inactive(file)"]),
        swap_used=memory["SwapTotal"] - memory["SwapFree"],
    )


def read_interfaces(proc: Path = Path("/proc")) -> list[Interface]:
    """The machine's network interfaces, without loopback and the ends of Pods' (proc_pid_net(5)). Raises OSError or
    ValueError."""
    defaults = set()
    for line in (proc / "net/route").read_text().splitlines()[1:]:
        name, destination, _, _, _, _, _, mask = line.split()[:8]
        if destination == mask == "00000000":
            defaults.add(name)
    found = []
    for line in (proc / "net/dev").read_text().splitlines()[2:]:
        name, _, counters = line.strip().partition(":")
        if name == "lo" or name.startswith("veth"):
            continue
        numbers = [int(word) for word in counters.split()]
        found.append(
            Interface(
                name=name,
                rx_bytes=numbers[0],
                rx_errors=numbers[2],
                tx_bytes=numbers[8],
                tx_errors=numbers[10],
                default=name in defaults,
            )
        )
    return found
