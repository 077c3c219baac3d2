"""What all calls of the RuntimeService share, and where things stand on the host."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podyard.config import Config
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.images.store import ImageStore
from podyard.linux import cgroups
from podyard.network import Network
from podyard.oci.host import HostFacts
from podyard.oci.monitor import Monitor
from podyard.oci.runtime import OciRuntime
from podyard.operations import Engine
from podyard.runtime.events import Events
from podyard.runtime.exits import Watcher
from podyard.runtime.store import Store
from podyard.stats import Collector
from podyard.streaming import StreamingServer


@dataclass(frozen=True)
class Paths:
    """Where things stand. ``run`` goes with a reboot, as do the things that it describes; ``root`` stays."""

    root: Path
    run: Path

    def pins(self, sandbox_id: str) -> Path:
        """A sandbox's pinned namespaces, one file a kind."""
        return self.run / "pins" / sandbox_id

    def sandbox(self, sandbox_id: str) -> Path:
        """A sandbox's files: resolv.conf, hosts, hostname, and /dev/shm."""
        return self.run / "sandboxes" / sandbox_id

    def bundle(self, container_id: str) -> Path:
        """A container's OCI bundle; its root file system is mounted in it."""
        return self.run / "bundles" / container_id

    def writable(self, container_id: str) -> Path:
        """A container's writable layer, volumes of the image included; or the root of a sandbox's infra process."""
        return self.root / "containers" / container_id

    @property
    def exits(self) -> Path:
        """The directory of exit files."""
        return self.run / "exits"

    def prepare(self) -> None:
        """Make the directories that stand above all others."""
        below = [self.run / name for name in ("pins", "sandboxes", "exits")]
        for folder in (self.root, self.root / "containers", self.run, *below):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The root of a user namespace, who is nobody on the host, must reach its root file system through these.
        for folder in (self.run, self.run / "bundles"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)


@dataclass(frozen=True)
class Handler:
    """A runtime handler: the OCI runtime behind a RuntimeClass' name.

    ``no_user_namespaces``: why it runs no pods with a user namespace of their own on this host, "" where it does.
    """

    runtime: OciRuntime
    no_user_namespaces: str


@dataclass(frozen=True)
class Context:
    """All that an operation or a call needs; made once by the daemon."""

    config: Config
    paths: Paths
    store: Store
    events: Events
    engine: Engine
    images: ImageStore
    network: Network
    streaming: StreamingServer
    monitor: Monitor
    watcher: Watcher
    handlers: Mapping[str, Handler]
    runtimes: Mapping[str, OciRuntime]
    host: HostFacts
    init: Path
    boot_id: str
    systemd_cgroups: bool
    stats: Collector

    def handler(self, name: str) -> Handler:
        """A handler by name; "" is the default one. Raises InvalidArgument, naming those there are."""
        found = self.handlers.get(name)
        if found is None:
            known = ", ".join(repr(handler) for handler in sorted(self.handlers))
            raise InvalidArgument(f"there is no runtime handler {name!r}; podyard is configured with {known}")
        return found

    def runtime(self, name: str) -> OciRuntime:
        """The OCI runtime that made something, by the name in its record."""
        found = self.runtimes.get(name)
        if found is None:
            raise FailedPrecondition(
                f"this was made by the OCI runtime {name}, which is not configured any more: "
                "add it to runtime.candidates or runtime.handlers"
            )
        return found

    def cgroup_parent(self, sandbox_id: str, requested: str) -> str:
        """The cgroup under which a sandbox's containers are: the request's, or one of podyard's own."""
        if requested:
            return requested
        ours = self.config.runtime.cgroup_parent or ("podyard.slice" if self.systemd_cgroups else "/podyard")
        return ours if self.systemd_cgroups else f"{ours}/{sandbox_id}"

    def pod_cgroup(self, sandbox_id: str, requested: str) -> str:
        """The cgroup that holds a sandbox's containers and nothing else; "" where they have none in common.

        A parent that the request names is taken to be the pod's own, as a kubelet makes them.
        """
        if not self.systemd_cgroups:
            return self.cgroup_parent(sandbox_id, requested)
        return cgroups.of_slice(requested.rstrip("/").rpartition("/")[2]) if requested else ""

    def scope(self, container_id: str) -> str:
        """The cgroup of a container in podyard's own slice, under systemd."""
        return f"{cgroups.of_slice(self.cgroup_parent('', ''))}/podyard-{container_id}.scope"

    def cgroups_path(self, parent: str, container_id: str) -> str:
        """A container's cgroup as the OCI spec has it (config-linux.md, cgroupsPath; systemd: slice:prefix:name)."""
        if self.systemd_cgroups:
            return f"{parent.rstrip('/').rpartition('/')[2]}:podyard:{container_id}"
        return f"{parent.rstrip('/')}/{container_id}"


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
