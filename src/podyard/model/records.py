"""What podyard remembers of sandboxes and containers: the records that the database keeps.

Times are nanoseconds since 1970, as the CRI gives them; 0 stands for "not yet".
"""

from __future__ import annotations

from typing import Literal

import msgspec

ContainerState = Literal["created", "running", "exited", "unknown"]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A container's first process and its monitor. A start time (clock ticks since boot) makes a pid unmistakable."""

    pid: int
    start_time: int
    monitor_pid: int
    monitor_start_time: int


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A pod sandbox. ``config`` is the serialized runtime.v1.PodSandboxConfig of the request."""

    id: str
    config: bytes
    handler: str
    """The runtime handler of the request."""
    runtime: str
    """The OCI runtime behind it at that time: later ones must not touch what another one made."""
    created_at: int
    boot_id: str
    ready: bool = True
    ips: tuple[str, ...] = ()
    network_result: str = "{}"
    """The CNI result, as JSON."""
    infra: Process | None = None
    """Holds the PID namespace, where the pod shares one."""
    resources: bytes | None = None
    """The limits of all its containers together, serialized runtime.v1.LinuxContainerResources; None: as in config."""
    overhead: bytes | None = None
    """What the pod itself takes beside them, in the same form; None: as in config."""


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container. ``config`` is the serialized runtime.v1.ContainerConfig of the request."""

    id: str
    sandbox_id: str
    config: bytes
    runtime: str
    image_id: str
    image_ref: str
    """A digest reference of the image, or its id where it has none."""
    created_at: int
    boot_id: str
    stop_signal: str
    image_name: str = ""
    """A name of the image where the request gives its id, "" where that names it, or it has none."""
    volume_images: dict[str, str] = {}
    """The id of each image that it has mounted as a volume, by the name that the request gives it."""
    log_path: str = ""
    cgroup: str = ""
    process: Process | None = None
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    state: ContainerState = "created"
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    resources: bytes | None = None
    """Its limits since they were changed, serialized runtime.v1.LinuxContainerResources; None: as in config."""
    restored_from: str = ""
    """The directory of the checkpoint that its processes come from; it has no process before its start."""
